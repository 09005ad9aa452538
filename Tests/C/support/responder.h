/* A thread that plays the client answering DMA_READ and DMA_WRITE. */
#ifndef VFU_TEST_RESPONDER_H
#define VFU_TEST_RESPONDER_H

#include "support.h"

#include <pthread.h>

/* The client's memory. */
#define BASE UINT64_C(0x10000000)
#define MEMORY_SIZE ((size_t)2 << 20)

/* How the client answers. */
enum manner {
    PROPERLY,
    WITH_ERROR,        /* error_no of the responder */
    WITH_ERROR_AND_PAYLOAD,
    WITH_OTHER_ID,
    WITH_OTHER_COMMAND,
    WITH_A_COMMAND,
    WITH_TINY_SIZE,
    WITH_HUGE_SIZE,
    WITH_HEADER_ONLY,
    WITH_OTHER_ADDRESS,
    WITH_OTHER_COUNT,
    WITH_TOO_LITTLE,
    BY_CLOSING,
    BY_CLOSING_IN_THE_MIDDLE,
};

/* Atomic is what both sides use while the thread runs: messages orders what comes with it. */
struct responder {
    int fd, stop;
    uint8_t *memory; /* MEMORY_SIZE bytes at BASE */
    _Atomic enum manner manner;
    _Atomic uint32_t error_no;
    pthread_t thread;
    /* what it saw */
    _Atomic unsigned messages;
    struct vfio_user_header headers[16];
    uint64_t addrs[16], counts[16];
    const char *complaint; /* about the server's messages */
};

void start_responder(struct responder *r, int fd);
void stop_responder(struct responder *r); /* the test fails if it had a complaint */

#endif
