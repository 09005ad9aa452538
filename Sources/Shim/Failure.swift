internal import Glibc
internal import SystemPackage

/// The C convention: -1 and `errno`.
func failure(_ error: Errno) -> CInt {
    errno = error.rawValue
    return -1
}

/// 0, or -1 and `errno`.
func result(_ body: () throws(Errno) -> Void) -> CInt {
    do throws(Errno) {
        try body()
        return 0
    } catch {
        return failure(error)
    }
}

/// What a callback that returned a negative value failed with: `errno` as it left it.
func callbackError() -> Errno { Errno(rawValue: errno) }
