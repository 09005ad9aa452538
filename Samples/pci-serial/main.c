/* A vfio-user server: a PCI serial port on a UNIX socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "line.h"

static const char usage[] =
    "usage: pci-serial --socket PATH [--pty] [--verbose] [--trace] [--ignore-rts]\n"
    "\n"
    "A 16550A serial port as a PCI device (1b36:0002) for the vfio-user client that\n"
    "connects to PATH; one client after the other, until SIGTERM or SIGINT.\n"
    "\n"
    "  --socket PATH  where to listen; the file must not exist and is removed at the end\n"
    "  --pty          the line is a pseudo-terminal, whose name is printed first on\n"
    "                 standard output; without it, standard input and output\n"
    "  --ignore-rts   pass input on even while the guest does not assert RTS; without\n"
    "                 it, input waits until then\n"
    "  --verbose      log clients, resets, line settings and interrupts to stderr\n"
    "  --trace        log every register access, too\n"
    "  --help         this text\n";

static volatile sig_atomic_t stopped;
static int stop_event = -1;

static void stop(int number) {
    int error = errno;
    uint64_t one = 1;

    (void)number;
    stopped = 1;
    if (write(stop_event, &one, sizeof(one)) < 0) {
        /* The flag alone has to do. */
    }
    errno = error;
}

static int catch_signals(void) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    /* No SA_RESTART: a call that waits ends.  The second signal kills. */
    struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};

    signal(SIGPIPE, SIG_IGN);
    stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_event < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], &action, NULL) != 0) {
            return -1;
        }
    }
    return 0;
}

static void wait_for_event(struct device *device) {
    short events = device_line_events(device);
    struct pollfd pollfds[] = {
        {.fd = stop_event, .events = POLLIN},
        {.fd = vfu_get_poll_fd(device->vfu), .events = POLLIN},
        /* Input and output may be one descriptor, which poll() may have twice. */
        {.fd = events & POLLIN ? device->line->input : -1, .events = POLLIN},
        {.fd = events & POLLOUT ? device->line->output : -1, .events = POLLOUT},
    };
    int64_t deadline = device_deadline(device);
    int64_t left = deadline - device_clock();
    struct timespec limit = {0};

    if (left > 0) {
        limit.tv_sec = (time_t)(left / 1000000000);
        limit.tv_nsec = (long)(left % 1000000000);
    }
    if (ppoll(pollfds, sizeof(pollfds) / sizeof(pollfds[0]), deadline != 0 ? &limit : NULL, NULL) > 0 &&
        pollfds[1].revents != 0) {
        device_serve(device);
    }
}

static void parse(int argc, char **argv, struct device_options *options, bool *pty) {
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'}, {"pty", no_argument, NULL, 'p'},
        {"ignore-rts", no_argument, NULL, 'r'},   {"verbose", no_argument, NULL, 'v'},
        {"trace", no_argument, NULL, 't'},        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 's':
            options->socket = optarg;
            break;
        case 'p':
            *pty = true;
            break;
        case 'r':
            options->ignore_rts = true;
            break;
        case 't':
            options->trace = true;
            options->verbose = true;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind < argc || options->socket == NULL) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct device_options options = {0};
    struct device device;
    struct line line;
    bool pty = false;

    parse(argc, argv, &options, &pty);
    if (catch_signals() != 0) {
        perror("pci-serial: signals");
        return EXIT_FAILURE;
    }
    if (pty) {
        char name[64];

        if (line_open_pty(&line, name, sizeof(name)) != 0) {
            perror("pci-serial: pseudo-terminal");
            return EXIT_FAILURE;
        }
        printf("%s\n", name);
        fflush(stdout);
    } else {
        line_open_stdio(&line);
    }
    if (device_open(&device, &options, &line) != 0) {
        line_close(&line);
        return EXIT_FAILURE;
    }
    while (!stopped) {
        wait_for_event(&device);
        device_work(&device);
    }
    device_close(&device);
    line_close(&line);
    return EXIT_SUCCESS;
}
