#include "cshim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <vfio-user/libvfio-user.h>

/* Longest message and its NUL. */
enum { VFU_LOG_SIZE = 8192 };

void
vfu_log(vfu_ctx_t *vfu_ctx, int level, const char *fmt, ...)
{
    const int saved = errno;

    if (fmt != NULL && vfu_shim_log_enabled(vfu_ctx, level) != 0) {
        char message[VFU_LOG_SIZE];
        va_list arguments;
        int length;

        errno = saved; /* for %m */
        va_start(arguments, fmt);
        length = vsnprintf(message, sizeof(message), fmt, arguments);
        va_end(arguments);
        /* An argument that cannot be converted: better the bare format than nothing. */
        vfu_shim_log(vfu_ctx, level, length < 0 ? fmt : message);
    }
    errno = saved;
}
