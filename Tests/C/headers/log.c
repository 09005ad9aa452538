/* vfu_log() over a log that writes down what it gets. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <vfio-user/libvfio-user.h>

#include "cshim.h"

#ifdef NDEBUG
#error "assert() is the test"
#endif

static int threshold;
static int asked;
static int calls;
static int last_level;
static size_t last_length;
static char last[16384];

int
vfu_shim_log_enabled(vfu_ctx_t *ctx, int level)
{
    assert(ctx == (vfu_ctx_t *)&threshold);
    asked++;
    errno = ENOTTY;
    return level <= threshold;
}

void
vfu_shim_log(vfu_ctx_t *ctx, int level, const char *message)
{
    assert(ctx == (vfu_ctx_t *)&threshold);
    calls++;
    last_level = level;
    last_length = strlen(message);
    strcpy(last, message);
    errno = ENOTTY;
}

int
main(void)
{
    static char text[16384];
    static const size_t lengths[] = {0, 1, 8190, 8191, 8192, 16000};
    vfu_ctx_t *ctx = (vfu_ctx_t *)&threshold;
    const char *volatile nothing = NULL;
    char expected[256];

    threshold = LOG_INFO;
    errno = EBUSY;
    vfu_log(ctx, LOG_INFO, "%s %d %#llx: %m", "text", -1, 0x123456789abcdefULL);
    assert(errno == EBUSY);
    snprintf(expected, sizeof(expected), "text -1 0x123456789abcdef: %s", strerror(EBUSY));
    assert(calls == 1 && last_level == LOG_INFO && strcmp(last, expected) == 0);

    /* Above the threshold nothing is formatted: this format would write through the pointer. */
    int written = -1;
    errno = EBUSY;
    vfu_log(ctx, LOG_DEBUG, "abc%n", &written);
    assert(errno == EBUSY && calls == 1 && asked == 2 && written == -1);

    vfu_log(ctx, LOG_ERR, nothing);
    assert(errno == EBUSY && calls == 1 && asked == 2);

    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        vfu_log(ctx, LOG_ERR, "%.*s", (int)lengths[i], text);
        assert(errno == EBUSY && last_level == LOG_ERR);
        assert(last_length == (lengths[i] < 8191 ? lengths[i] : 8191));
        assert(memcmp(last, text, last_length) == 0);
    }
    assert(calls == 1 + (int)(sizeof(lengths) / sizeof(lengths[0])));

    /* In the C locale there is no way to write this character. */
    vfu_log(ctx, LOG_ERR, "cannot: %ls", L"\u20ac");
    assert(errno == EBUSY && strcmp(last, "cannot: %ls") == 0);

    puts("ok");
    return 0;
}
