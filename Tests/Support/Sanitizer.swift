internal import Glibc

/// Whether a sanitizer is in this process: it keeps memory that was freed, and needs mappings of its own.
package let isSanitized: Bool = {
    // Names that are looked for in all that is loaded; nothing is called.
    unsafe dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
}()
