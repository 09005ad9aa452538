/*
 * Servers in turns of some milliseconds, so that a machine whose speed changes by the minute is the same for all of
 * them. What is printed of each is the median of its times, and of its quotients with the first one's time in the
 * same round: of these also the quartiles.
 */
#define _GNU_SOURCE
#include "turns.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SERVERS 8

static struct shared *shared;
static struct server servers[MAX_SERVERS];
static size_t server_count;
static bool polling = true;
static int client_processor = 1;
static unsigned rounds = 100;
static uint64_t turn = 10 * 1000 * 1000;
static const char *wanted;

_Noreturn void die(const char *what)
{
    fprintf(stderr, "turns: ");
    perror(what);
    exit(1);
}

static _Noreturn void usage(void)
{
    fputs("usage: turns [-1|-2] [-n ROUNDS] [-t MILLISECONDS] [-m OPERATION] SERVER SERVER...\n"
          "  -1  server and client sleep until a message comes, both on one processor\n"
          "  -2  they sleep, on a processor each; with neither, they poll, on a processor each\n"
          "  -n  rounds, in which each server has one turn (100)\n"
          "  -t  length of a turn (10)\n"
          "  -m  only this: read, write, read-64K, write-64K, map, unmap, report, memory-read,\n"
          "      memory-write, interrupt\n"
          "SERVER: a library (...so...); @PROGRAM, which gets the socket's path and 'poll' or 'wait';\n"
          "        'floor', no library: one recv and one send; 'floor-fds', the same with recvmsg,\n"
          "        which descriptors might come by\n",
          stderr);
    exit(2);
}

void pin(int processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        die("sched_setaffinity");
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(const double *values, double part)
{
    double sorted[rounds];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, rounds, sizeof(double), ascending);
    return sorted[(size_t)((rounds - 1) * part + 0.5)];
}

/* A server that polls must not do so when it is another's turn. */
static void pause_server(const struct server *server)
{
    if (polling && (kill(server->process, SIGSTOP) != 0 || waitpid(server->process, NULL, WUNTRACED) < 0)) {
        die(server->name);
    }
}

static void resume_server(const struct server *server)
{
    if (polling && kill(server->process, SIGCONT) != 0) {
        die(server->name);
    }
}

static double take_turn(const struct server *server, const struct operation *operation, unsigned count)
{
    resume_server(server);
    operation->measure(server->socket, count / 8 + 1);
    double spent = (double)operation->measure(server->socket, count);

    pause_server(server);
    return spent / count;
}

static bool takes_part(const struct server *server, const struct operation *operation)
{
    if (server_is_library(server->name)) {
        return true;
    }
    return server_is_plain(server->name) ? operation->for_plain : operation->for_floor;
}

static void compare(const struct operation *operation)
{
    static double times[MAX_SERVERS][1 << 16];
    double quotients[rounds];
    size_t first = MAX_SERVERS;
    unsigned count;

    shared->reply_size = operation->reply_size;
    for (size_t s = server_count; s-- > 0;) {
        if (takes_part(&servers[s], operation)) {
            first = s;
        }
    }
    if (first == MAX_SERVERS) {
        return;
    }
    count = (unsigned)((double)turn / take_turn(&servers[first], operation, 512)) + 1;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < server_count; i++) {
            size_t s = (i + round) % server_count;

            if (takes_part(&servers[s], operation)) {
                times[s][round] = take_turn(&servers[s], operation, count);
            }
        }
    }
    for (size_t s = 0; s < server_count; s++) {
        if (!takes_part(&servers[s], operation)) {
            continue;
        }
        for (unsigned round = 0; round < rounds; round++) {
            quotients[round] = times[s][round] / times[first][round];
        }
        printf("%-12s %10.1f %10.1f %9.3f  [%.3f .. %.3f]  %s\n", operation->name, quantile(times[s], 0.5),
               quantile(times[s], 0.1), quantile(quotients, 0.5), quantile(quotients, 0.25),
               quantile(quotients, 0.75), servers[s].name);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/turns-XXXXXX";
    char path[64];
    int option;

    while ((option = getopt(argc, argv, "12n:t:m:")) != -1) {
        switch (option) {
        case '1': client_processor = 0; polling = false; break;
        case '2': polling = false; break;
        case 'n': rounds = (unsigned)atoi(optarg); break;
        case 't': turn = (uint64_t)atoi(optarg) * 1000 * 1000; break;
        case 'm': wanted = optarg; break;
        default: usage();
        }
    }
    server_count = (size_t)(argc - optind);
    if (server_count == 0 || server_count > MAX_SERVERS || rounds == 0 || rounds > 1 << 16 || turn == 0) {
        usage();
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || mkdtemp(directory) == NULL) {
        die("start");
    }
    pin(client_processor);
    for (size_t s = 0; s < server_count; s++) {
        servers[s].name = argv[optind + (int)s];
        snprintf(path, sizeof(path), "%s/%zu", directory, s);
        servers[s].process = server_start(servers[s].name, path, shared, polling);
        servers[s].socket = client_connect(path, servers[s].name, shared, polling);
        unlink(path);
        pause_server(&servers[s]);
    }
    rmdir(directory);
    printf("%-12s %10s %10s %9s  %-16s  %s\n", "ns", "median", "lowest 10%", "quotient", "quartiles", "server");
    for (size_t i = 0; i < operation_count; i++) {
        if (wanted == NULL || strcmp(wanted, operations[i].name) == 0) {
            compare(&operations[i]);
        }
    }
    for (size_t s = 0; s < server_count; s++) {
        kill(servers[s].process, SIGKILL);
    }
    return 0;
}
