/* vfu_log: levels, formatting, and what the library itself logs. */
#include "support.h"

#include <limits.h>

static struct {
    int count, level;
    char text[9000];
} logged;

static void log_message(vfu_ctx_t *ctx, int level, const char *msg)
{
    (void)ctx;
    logged.count++;
    logged.level = level;
    snprintf(logged.text, sizeof(logged.text), "%s", msg);
    errno = EXDEV;
}

TEST(log_filters_by_level)
{
    struct session *s = new_session();
    const char *no_format = NULL;

    memset(&logged, 0, sizeof(logged));
    vfu_log(s->ctx, LOG_EMERG, "nobody listens");
    assert_int_equal(vfu_setup_log(s->ctx, log_message, LOG_WARNING), 0);
    vfu_log(s->ctx, LOG_NOTICE, "too unimportant");
    assert_int_equal(logged.count, 0);
    vfu_log(s->ctx, LOG_WARNING, "%s-%d", "text", 42);
    assert_int_equal(logged.count, 1);
    assert_int_equal(logged.level, LOG_WARNING);
    assert_string_equal(logged.text, "text-42");
    vfu_log(s->ctx, LOG_EMERG, no_format, 1);
    assert_int_equal(logged.count, 1);

    /* A bad level changes nothing. */
    assert_fails(vfu_setup_log(s->ctx, NULL, -1), EINVAL);
    assert_fails(vfu_setup_log(s->ctx, NULL, 8), EINVAL);
    assert_fails(vfu_setup_log(s->ctx, log_message, INT_MIN), EINVAL);
    assert_fails(vfu_setup_log(s->ctx, log_message, INT_MAX), EINVAL);
    vfu_log(s->ctx, LOG_NOTICE, "still too unimportant");
    assert_int_equal(logged.count, 1);
    vfu_log(s->ctx, LOG_WARNING, "%c", 'x');
    assert_int_equal(logged.count, 2);
    assert_int_equal(vfu_setup_log(s->ctx, log_message, LOG_EMERG), 0);
    vfu_log(s->ctx, LOG_ALERT, "hidden");
    assert_int_equal(logged.count, 2);
    assert_int_equal(vfu_setup_log(s->ctx, NULL, LOG_DEBUG), 0);
    vfu_log(s->ctx, LOG_EMERG, "nobody listens again");
    assert_int_equal(logged.count, 2);
}

TEST(log_keeps_errno)
{
    struct session *s = new_session();
    char expected[64];

    memset(&logged, 0, sizeof(logged));
    snprintf(expected, sizeof(expected), "failed: %s", strerror(ENOTTY));
    assert_int_equal(vfu_setup_log(s->ctx, log_message, LOG_DEBUG), 0);
    errno = ENOTTY;
    vfu_log(s->ctx, LOG_INFO, "failed: %m");
    assert_int_equal(errno, ENOTTY);
    assert_string_equal(logged.text, expected);
}

TEST(log_cuts_long_messages)
{
    struct session *s = new_session();
    char *text = malloc(20001);

    assert_non_null(text);
    memset(text, 'a', 20000);
    text[20000] = '\0';
    assert_int_equal(vfu_setup_log(s->ctx, log_message, LOG_DEBUG), 0);
    vfu_log(s->ctx, LOG_INFO, "%s", text);
    free(text);
    assert_int_equal(strlen(logged.text), 8191);
}

static void log_checked(vfu_ctx_t *ctx, int level, const char *msg)
{
    (void)ctx;
    assert_in_range(level, LOG_EMERG, LOG_DEBUG);
    for (const char *c = msg; *c != '\0'; c++) {
        assert_in_range(*c, ' ', '~');
    }
    logged.count++;
}

/* Whatever the library itself logs has a level that exists, and is plain text without a newline. */
TEST(own_messages_are_well_formed)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_log(s->ctx, log_checked, LOG_DEBUG), 0);
    use_dma(s);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_PREFETCH);
    start(s);
    request_fails(s, 999, "x", 1, EINVAL);
    region_read_fails(s, 0, 0x1000, 1, EINVAL);
    dma_map(s, DMA_RW, 0, 0x10000, PS, -1);
    lose_client(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(log_filters_by_level),
        CASE(log_keeps_errno),
        CASE(log_cuts_long_messages),
        CASE(own_messages_are_well_formed),
    };
    return RUN(tests);
}
