/// What `--help` tells beyond the options.
enum HelpText {
    static let discussion = """
        Serves NVMe 1.4 controllers as PCI devices to clients of the vfio-user protocol. Each --socket or --fd is a \
        controller. The namespaces that stand behind it are its own, numbered from 1 on in their order; those before \
        the first belong to the first. A controller without any gets one of 1 GiB in memory, which takes as much of it \
        as has been written.

        A disk in memory, and one in a file, for QEMU 10.1 or later:

          truncate -s 10G disk.img
          nvme-server --socket /tmp/nvme.sock --memory 1G --file disk.img
          qemu-system-x86_64 -machine q35,memory-backend=ram -m 1G \\
            -object memory-backend-memfd,id=ram,size=1G,share=on \\
            -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/nvme.sock"}}'

        Two controllers in one process, the second with a disk on an NBD server:

          nvme-server --socket /tmp/a.sock --file a.img --socket /tmp/b.sock --nbd nbd://storage/b

        For SPDK, which wants a directory:

          mkdir /tmp/nvme; nvme-server --socket /tmp/nvme --memory 4G --poll

        SIGTERM and SIGINT end the server: it takes no more commands, finishes and flushes what it has begun, removes its \
        sockets and ends with status 0, or with 1 if something could not be flushed. A second one ends it at once, with \
        status 143 or 130. Other errors: 1; a command line that makes no sense: 64.

        Files are locked: while a server can write to one no other can use it. A socket that a killed server left behind \
        is replaced.
        """
}
