internal import ArgumentParser

NVMeClientCommand.main()
