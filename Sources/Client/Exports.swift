// What a user of this module needs beside it: errno values and descriptors.
@_exported public import SystemPackage
