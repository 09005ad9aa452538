/*
 * Lets the library link while its Swift side has no log yet: weak, so that the functions in Swift take
 * precedence. To be deleted once they exist.
 */
#include "cshim.h"

__attribute__((weak)) int
vfu_shim_log_enabled(vfu_ctx_t *ctx, int level)
{
    (void)ctx;
    (void)level;
    return 0;
}

__attribute__((weak)) void
vfu_shim_log(vfu_ctx_t *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    (void)message;
}
