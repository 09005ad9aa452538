/*
 * The seam between vfu_log(), which is variadic and therefore C, and the rest of the library: both functions
 * are written in Swift.
 */
#ifndef CSHIM_H
#define CSHIM_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vfu_ctx vfu_ctx_t;

/* Hidden, so that the library does not export them although their names begin like those of its interface. */
#pragma GCC visibility push(hidden)

/** Non-zero if a message of this level would reach a log function. Must not call vfu_log(). */
int
vfu_shim_log_enabled(vfu_ctx_t *ctx, int level);

/** Hands a formatted message to the context's log function. The text is valid during the call. */
void
vfu_shim_log(vfu_ctx_t *ctx, int level, const char *message);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* CSHIM_H */
