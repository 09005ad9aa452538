/* pci_caps/pm.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/pm.h>
#include <vfio-user/pci_caps/pm.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_PM_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct pmcap) + PCI_PM_SIZEOF;
}
