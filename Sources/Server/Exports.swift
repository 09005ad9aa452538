// What a device author needs beside this module: errno values and descriptors, PCI identities and capabilities.
@_exported public import SystemPackage
@_exported public import VFIOUserPCI
