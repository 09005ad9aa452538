/* Servers that take turns at the same requests. */
#ifndef TURNS_H
#define TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-user/libvfio-user.h>

/* What a 4-byte write to these places of BAR0 makes a library's device do. */
#define PLACE_PLAIN 16
#define PLACE_READ_MEMORY 32
#define PLACE_WRITE_MEMORY 48
#define PLACE_INTERRUPTS 64

#define BIG_TRANSFER (64u << 10)
#define REGION_SIZE (2 * BIG_TRANSFER)
#define INTERRUPTS_PER_WRITE 512

/* Where client memory is: with a descriptor, or reached by messages. */
#define FILE_IOVA UINT64_C(0x100000000)
#define FILE_SIZE (UINT64_C(1) << 30)
#define MESSAGE_IOVA UINT64_C(0x1000000000)

/* Shared with the servers. */
struct shared {
    uint32_t reply_size; /* of a server that is no library */
};

struct server {
    const char *name;
    pid_t process;
    int socket; /* the client's */
};

_Noreturn void die(const char *what);
void pin(int processor);

/* Starts what NAME says, on processor 0, listening at PATH: see usage() for the names. Returns its process. */
pid_t server_start(const char *name, const char *path, const struct shared *shared, bool polling);

/* Whether only 4-byte reads and writes can be asked of it. */
bool server_is_plain(const char *name);
/* Whether it can do all. */
bool server_is_library(const char *name);

/* The client's side: makes PATH's server ready for every operation. Sleeps for replies unless polling. */
int client_connect(const char *path, const char *name, struct shared *shared, bool polling);

struct operation {
    const char *name;
    /* Nanoseconds that COUNT of it take. */
    uint64_t (*measure)(int socket, unsigned count);
    uint32_t reply_size;
    /* As server_is_...: who takes part. */
    bool for_plain;
    bool for_floor;
};

extern const struct operation operations[];
extern const size_t operation_count;

#endif
