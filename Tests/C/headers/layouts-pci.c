/* Every structure of pci_defs.h and pci_caps. */
#include <vfio-user/libvfio-user.h>

#include "layouts.h"

VALUE(PCI_BARS_NR, 6);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_32, 0);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_1M, 1);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_64, 2);
VALUE(VFIO_USER_PCI_CAP_MSI_SIZEOF, 0x18);
VALUE(VFIO_USER_PCI_CAP_EXP_SIZEOF, 0x3c);
VALUE(PCI_PM_SIZEOF, 8);
VALUE(PCI_CAP_MSIX_SIZEOF, 12);
VALUE(PCI_EXT_CAP_DSN_SIZEOF, 12);

/* Header registers. */

TYPE(vfu_pci_hdr_ss_t, 4, 1);
FIELD(vfu_pci_hdr_ss_t, raw, 0, 4);
FIELD(vfu_pci_hdr_ss_t, vid, 0, 2);
FIELD(vfu_pci_hdr_ss_t, sid, 2, 2);

TYPE(vfu_pci_hdr_bist_t, 1, 1);
FIELD(vfu_pci_hdr_bist_t, raw, 0, 1);

TYPE(vfu_bar_t, 4, 1);
FIELD(vfu_bar_t, raw, 0, 4);
FIELD(vfu_bar_t, mem, 0, 4);
FIELD(vfu_bar_t, io, 0, 4);

TYPE(vfu_pci_hdr_htype_t, 1, 1);
FIELD(vfu_pci_hdr_htype_t, raw, 0, 1);

TYPE(vfu_pci_hdr_cc_t, 3, 1);
FIELD(vfu_pci_hdr_cc_t, raw, 0, 3);
FIELD(vfu_pci_hdr_cc_t, pi, 0, 1);
FIELD(vfu_pci_hdr_cc_t, scc, 1, 1);
FIELD(vfu_pci_hdr_cc_t, bcc, 2, 1);

TYPE(vfu_pci_hdr_sts_t, 2, 1);
FIELD(vfu_pci_hdr_sts_t, raw, 0, 2);

TYPE(vfu_pci_hdr_cmd_t, 2, 1);
FIELD(vfu_pci_hdr_cmd_t, raw, 0, 2);

TYPE(vfu_pci_hdr_id_t, 4, 1);
FIELD(vfu_pci_hdr_id_t, raw, 0, 4);
FIELD(vfu_pci_hdr_id_t, vid, 0, 2);
FIELD(vfu_pci_hdr_id_t, did, 2, 2);

TYPE(vfu_pci_hdr_intr_t, 2, 1);
FIELD(vfu_pci_hdr_intr_t, raw, 0, 2);
FIELD(vfu_pci_hdr_intr_t, iline, 0, 1);
FIELD(vfu_pci_hdr_intr_t, ipin, 1, 1);

TYPE(vfu_pci_hdr_t, 64, 1);
FIELD(vfu_pci_hdr_t, raw, 0x00, 64);
FIELD(vfu_pci_hdr_t, id, 0x00, 4);
FIELD(vfu_pci_hdr_t, cmd, 0x04, 2);
FIELD(vfu_pci_hdr_t, sts, 0x06, 2);
FIELD(vfu_pci_hdr_t, rid, 0x08, 1);
FIELD(vfu_pci_hdr_t, cc, 0x09, 3);
FIELD(vfu_pci_hdr_t, cls, 0x0c, 1);
FIELD(vfu_pci_hdr_t, mlt, 0x0d, 1);
FIELD(vfu_pci_hdr_t, htype, 0x0e, 1);
FIELD(vfu_pci_hdr_t, bist, 0x0f, 1);
FIELD(vfu_pci_hdr_t, bars, 0x10, 24);
FIELD(vfu_pci_hdr_t, bars[5], 0x24, 4);
FIELD(vfu_pci_hdr_t, ccptr, 0x28, 4);
FIELD(vfu_pci_hdr_t, ss, 0x2c, 4);
FIELD(vfu_pci_hdr_t, erom, 0x30, 4);
FIELD(vfu_pci_hdr_t, cap, 0x34, 1);
FIELD(vfu_pci_hdr_t, res1, 0x35, 7);
FIELD(vfu_pci_hdr_t, intr, 0x3c, 2);
FIELD(vfu_pci_hdr_t, mgnt, 0x3e, 1);
FIELD(vfu_pci_hdr_t, mlat, 0x3f, 1);

TYPE(vfu_pci_config_space_t, 256, 1);
FIELD(vfu_pci_config_space_t, raw, 0, 256);
FIELD(vfu_pci_config_space_t, hdr, 0, 64);
FLEXIBLE(vfu_pci_config_space_t, extended, 256, 1);

/* Capabilities. */

TYPE(struct cap_hdr, 2, 1);
FIELD(struct cap_hdr, id, 0, 1);
FIELD(struct cap_hdr, next, 1, 1);

TYPE(struct vsc, 3, 1);
FIELD(struct vsc, hdr, 0, 2);
FIELD(struct vsc, size, 2, 1);
FLEXIBLE(struct vsc, data, 3, 1);

TYPE(struct pcie_ext_cap_hdr, 4, 1);

TYPE(struct pcie_ext_cap_vsc_hdr, 8, 1);
FIELD(struct pcie_ext_cap_vsc_hdr, hdr, 0, 4);
FLEXIBLE(struct pcie_ext_cap_vsc_hdr, data, 8, 1);

TYPE(struct dsncap, 12, 1);
FIELD(struct dsncap, hdr, 0, 4);
FIELD(struct dsncap, sn_lo, 4, 4);
FIELD(struct dsncap, sn_hi, 8, 4);

TYPE(struct mc, 2, 1);
TYPE(struct ma, 4, 1);
TYPE(struct msicap, 24, 1);
FIELD(struct msicap, hdr, 0, 2);
FIELD(struct msicap, mc, 2, 2);
FIELD(struct msicap, ma, 4, 4);
FIELD(struct msicap, mua, 8, 4);
FIELD(struct msicap, md, 12, 2);
FIELD(struct msicap, padding, 14, 2);
FIELD(struct msicap, mmask, 16, 4);
FIELD(struct msicap, mpend, 20, 4);

TYPE(struct mxc, 2, 1);
TYPE(struct mtab, 4, 1);
TYPE(struct mpba, 4, 1);
TYPE(struct msixcap, 12, 4);
FIELD(struct msixcap, hdr, 0, 2);
FIELD(struct msixcap, mxc, 2, 2);
FIELD(struct msixcap, mtab, 4, 4);
FIELD(struct msixcap, mpba, 8, 4);

TYPE(struct pc, 2, 1);
TYPE(struct pmcs, 2, 1);
FIELD(struct pmcs, raw, 0, 2);
TYPE(struct pmcap, 8, 1);
FIELD(struct pmcap, hdr, 0, 2);
FIELD(struct pmcap, pc, 2, 2);
FIELD(struct pmcap, pmcs, 4, 2);
FIELD(struct pmcap, pmcsr_bse, 6, 1);
FIELD(struct pmcap, data, 7, 1);

/* A register of struct pxcap: its type, size and place. */
#define REGISTER(tag, name, offset, size) \
    TYPE(tag name, size, 1); \
    FIELD(struct pxcap, name, offset, size)

TYPE(struct pxcap, 60, 1);
FIELD(struct pxcap, hdr, 0, 2);
REGISTER(struct, pxcaps, 2, 2);
REGISTER(struct, pxdcap, 4, 4);
REGISTER(union, pxdc, 8, 2);
REGISTER(struct, pxds, 10, 2);
REGISTER(struct, pxlcap, 12, 4);
REGISTER(union, pxlc, 16, 2);
REGISTER(struct, pxls, 18, 2);
REGISTER(struct, pxscap, 20, 4);
REGISTER(struct, pxsc, 24, 2);
REGISTER(struct, pxss, 26, 2);
REGISTER(struct, pxrc, 28, 2);
REGISTER(struct, pxrcap, 30, 2);
REGISTER(struct, pxrs, 32, 4);
REGISTER(struct, pxdcap2, 36, 4);
REGISTER(union, pxdc2, 40, 2);
REGISTER(struct, pxds2, 42, 2);
REGISTER(struct, pxlcap2, 44, 4);
REGISTER(struct, pxlc2, 48, 2);
REGISTER(struct, pxls2, 50, 2);
REGISTER(struct, pxscap2, 52, 4);
REGISTER(struct, pxsc2, 56, 2);
REGISTER(struct, pxss2, 58, 2);
FIELD(union pxdc, raw, 0, 2);
FIELD(union pxlc, raw, 0, 2);
FIELD(union pxdc2, raw, 0, 2);

static void
header_bits(void)
{
    BITS(vfu_bar_t, mem.region_type, 0, 1);
    BITS(vfu_bar_t, mem.locatable, 1, 2);
    BITS(vfu_bar_t, mem.prefetchable, 3, 1);
    BITS(vfu_bar_t, mem.base_address, 4, 28);
    BITS(vfu_bar_t, io.region_type, 0, 1);
    BITS(vfu_bar_t, io.reserved, 1, 1);
    BITS(vfu_bar_t, io.base_address, 2, 30);

    BITS(vfu_pci_hdr_sts_t, res1, 0, 3);
    BITS(vfu_pci_hdr_sts_t, is, 3, 1);
    BITS(vfu_pci_hdr_sts_t, cl, 4, 1);
    BITS(vfu_pci_hdr_sts_t, c66, 5, 1);
    BITS(vfu_pci_hdr_sts_t, res2, 6, 1);
    BITS(vfu_pci_hdr_sts_t, fbc, 7, 1);
    BITS(vfu_pci_hdr_sts_t, dpd, 8, 1);
    BITS(vfu_pci_hdr_sts_t, devt, 9, 2);
    BITS(vfu_pci_hdr_sts_t, sta, 11, 1);
    BITS(vfu_pci_hdr_sts_t, rta, 12, 1);
    BITS(vfu_pci_hdr_sts_t, rma, 13, 1);
    BITS(vfu_pci_hdr_sts_t, sse, 14, 1);
    BITS(vfu_pci_hdr_sts_t, dpe, 15, 1);

    BITS(vfu_pci_hdr_cmd_t, iose, 0, 1);
    BITS(vfu_pci_hdr_cmd_t, mse, 1, 1);
    BITS(vfu_pci_hdr_cmd_t, bme, 2, 1);
    BITS(vfu_pci_hdr_cmd_t, sce, 3, 1);
    BITS(vfu_pci_hdr_cmd_t, mwie, 4, 1);
    BITS(vfu_pci_hdr_cmd_t, vga, 5, 1);
    BITS(vfu_pci_hdr_cmd_t, pee, 6, 1);
    BITS(vfu_pci_hdr_cmd_t, zero, 7, 1);
    BITS(vfu_pci_hdr_cmd_t, see, 8, 1);
    BITS(vfu_pci_hdr_cmd_t, fbe, 9, 1);
    BITS(vfu_pci_hdr_cmd_t, id, 10, 1);
    BITS(vfu_pci_hdr_cmd_t, res1, 11, 5);
}

static void
capability_bits(void)
{
    BITS(struct pcie_ext_cap_hdr, id, 0, 16);
    BITS(struct pcie_ext_cap_hdr, version, 16, 4);
    BITS(struct pcie_ext_cap_hdr, next, 20, 12);
    BITS(struct pcie_ext_cap_vsc_hdr, id, 32, 16);
    BITS(struct pcie_ext_cap_vsc_hdr, rev, 48, 4);
    BITS(struct pcie_ext_cap_vsc_hdr, len, 52, 12);

    BITS(struct mc, msie, 0, 1);
    BITS(struct mc, mmc, 1, 3);
    BITS(struct mc, mme, 4, 3);
    BITS(struct mc, c64, 7, 1);
    BITS(struct mc, pvm, 8, 1);
    BITS(struct mc, res1, 9, 7);
    BITS(struct ma, res1, 0, 2);
    BITS(struct ma, addr, 2, 30);

    BITS(struct mxc, ts, 0, 11);
    BITS(struct mxc, reserved, 11, 3);
    BITS(struct mxc, fm, 14, 1);
    BITS(struct mxc, mxe, 15, 1);
    BITS(struct mtab, tbir, 0, 3);
    BITS(struct mtab, to, 3, 29);
    BITS(struct mpba, pbir, 0, 3);
    BITS(struct mpba, pbao, 3, 29);

    BITS(struct pc, vs, 0, 3);
    BITS(struct pc, pmec, 3, 1);
    BITS(struct pc, res, 4, 1);
    BITS(struct pc, dsi, 5, 1);
    BITS(struct pc, auxc, 6, 3);
    BITS(struct pc, d1s, 9, 1);
    BITS(struct pc, d2s, 10, 1);
    BITS(struct pc, psup, 11, 5);
    BITS(struct pmcs, ps, 0, 2);
    BITS(struct pmcs, res1, 2, 1);
    BITS(struct pmcs, nsfrst, 3, 1);
    BITS(struct pmcs, res2, 4, 4);
    BITS(struct pmcs, pmee, 8, 1);
    BITS(struct pmcs, dse, 9, 4);
    BITS(struct pmcs, dsc, 13, 2);
    BITS(struct pmcs, pmes, 15, 1);
}

static void
express_bits(void)
{
    BITS(struct pxcaps, ver, 0, 4);
    BITS(struct pxcaps, dpt, 4, 4);
    BITS(struct pxcaps, si, 8, 1);
    BITS(struct pxcaps, imn, 9, 5);
    BITS(struct pxcaps, res1, 14, 2);

    BITS(struct pxdcap, mps, 0, 3);
    BITS(struct pxdcap, pfs, 3, 2);
    BITS(struct pxdcap, etfs, 5, 1);
    BITS(struct pxdcap, l0sl, 6, 3);
    BITS(struct pxdcap, l1l, 9, 3);
    BITS(struct pxdcap, res1, 12, 3);
    BITS(struct pxdcap, rer, 15, 1);
    BITS(struct pxdcap, res2, 16, 2);
    BITS(struct pxdcap, csplv, 18, 8);
    BITS(struct pxdcap, cspls, 26, 2);
    BITS(struct pxdcap, flrc, 28, 1);
    BITS(struct pxdcap, res3, 29, 3);

    BITS(union pxdc, cere, 0, 1);
    BITS(union pxdc, nfere, 1, 1);
    BITS(union pxdc, fere, 2, 1);
    BITS(union pxdc, urre, 3, 1);
    BITS(union pxdc, ero, 4, 1);
    BITS(union pxdc, mps, 5, 3);
    BITS(union pxdc, ete, 8, 1);
    BITS(union pxdc, pfe, 9, 1);
    BITS(union pxdc, appme, 10, 1);
    BITS(union pxdc, ens, 11, 1);
    BITS(union pxdc, mrrs, 12, 3);
    BITS(union pxdc, iflr, 15, 1);

    BITS(union pxlc, aspmc, 0, 2);
    BITS(union pxlc, rsvdp1, 2, 1);
    BITS(union pxlc, rcb, 3, 1);
    BITS(union pxlc, ld, 4, 1);
    BITS(union pxlc, rl, 5, 1);
    BITS(union pxlc, ccc, 6, 1);
    BITS(union pxlc, es, 7, 1);
    BITS(union pxlc, clkreq_en, 8, 1);
    BITS(union pxlc, hawd, 9, 1);
    BITS(union pxlc, lbmie, 10, 1);
    BITS(union pxlc, labie, 11, 1);
    BITS(union pxlc, rsvdp2, 12, 4);

    BITS(struct pxdcap2, ctrs, 0, 4);
    BITS(struct pxdcap2, ctds, 4, 1);
    BITS(struct pxdcap2, arifs, 5, 1);
    BITS(struct pxdcap2, aors, 6, 1);
    BITS(struct pxdcap2, aocs32, 7, 1);
    BITS(struct pxdcap2, aocs64, 8, 1);
    BITS(struct pxdcap2, ccs128, 9, 1);
    BITS(struct pxdcap2, nprpr, 10, 1);
    BITS(struct pxdcap2, ltrs, 11, 1);
    BITS(struct pxdcap2, tphcs, 12, 2);
    BITS(struct pxdcap2, ln, 14, 2);
    BITS(struct pxdcap2, tcs, 16, 1);
    BITS(struct pxdcap2, trs, 17, 1);
    BITS(struct pxdcap2, obffs, 18, 2);
    BITS(struct pxdcap2, effs, 20, 1);
    BITS(struct pxdcap2, eetps, 21, 1);
    BITS(struct pxdcap2, meetp, 22, 2);
    BITS(struct pxdcap2, eprs, 24, 2);
    BITS(struct pxdcap2, eprir, 26, 1);
    BITS(struct pxdcap2, res1, 27, 1);
    BITS(struct pxdcap2, dmwcs, 28, 1);
    BITS(struct pxdcap2, dmwls, 29, 2);
    BITS(struct pxdcap2, frss, 31, 1);

    BITS(union pxdc2, comp_timeout, 0, 4);
    BITS(union pxdc2, comp_timout_dis, 4, 1);
    BITS(union pxdc2, ari, 5, 1);
    BITS(union pxdc2, atomic_req, 6, 1);
    BITS(union pxdc2, atomic_egress_block, 7, 1);
    BITS(union pxdc2, ido_req_en, 8, 1);
    BITS(union pxdc2, ido_cmp_en, 9, 1);
    BITS(union pxdc2, ltr_en, 10, 1);
    BITS(union pxdc2, obff_en, 11, 2);
    BITS(union pxdc2, end_end_tlp_prefix_block, 13, 1);

    BITS(struct pxds, stuff, 0, 16);
    BITS(struct pxlcap, stuff, 0, 32);
    BITS(struct pxls, stuff, 0, 16);
    BITS(struct pxscap, stuff, 0, 32);
    BITS(struct pxsc, stuff, 0, 16);
    BITS(struct pxss, stuff, 0, 16);
    BITS(struct pxrc, stuff, 0, 16);
    BITS(struct pxrcap, stuff, 0, 16);
    BITS(struct pxrs, stuff, 0, 32);
    BITS(struct pxds2, stuff, 0, 16);
    BITS(struct pxlcap2, stuff, 0, 32);
    BITS(struct pxlc2, stuff, 0, 16);
    BITS(struct pxls2, stuff, 0, 16);
    BITS(struct pxscap2, stuff, 0, 32);
    BITS(struct pxsc2, stuff, 0, 16);
    BITS(struct pxss2, stuff, 0, 16);
}

void
layouts_pci(void)
{
    header_bits();
    capability_bits();
    express_bits();
}
