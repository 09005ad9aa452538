internal import ArgumentParser

NVMeServerCommand.main()
