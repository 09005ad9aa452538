#define _GNU_SOURCE
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void line_open_stdio(struct line *line) {
    *line = (struct line){.input = STDIN_FILENO, .output = STDOUT_FILENO, .connected = true};

    /* Only the foreground job may read from its terminal, or change it. */
    if (!isatty(line->input)) {
        return;
    }
    if (tcgetpgrp(line->input) != getpgrp()) {
        line->input_ended = true;
        return;
    }
    if (tcgetattr(line->input, &line->terminal) == 0) {
        struct termios raw = line->terminal;

        raw.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | IXON);
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        line->terminal_changed = tcsetattr(line->input, TCSANOW, &raw) == 0;
    }
}

int line_open_pty(struct line *line, char *name, size_t size) {
    struct termios raw;
    int error, other;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (master < 0) {
        return -1;
    }
    if (grantpt(master) != 0 || unlockpt(master) != 0) {
        goto failed;
    }
    error = ptsname_r(master, name, size);
    if (error != 0) {
        errno = error;
        goto failed;
    }
    /*
     * Raw, or the terminal would send the guest's output back to it as input.  The settings last
     * as long as the master.  Opening and closing the other side once is also what makes poll()
     * tell (by POLLHUP) that nobody has it open.
     */
    other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (other < 0) {
        goto failed;
    }
    if (tcgetattr(other, &raw) == 0) {
        cfmakeraw(&raw);
        tcsetattr(other, TCSANOW, &raw);
    }
    close(other);
    *line = (struct line){.input = master, .output = master, .pty = true};
    return 0;

failed:
    error = errno;
    close(master);
    errno = error;
    return -1;
}

void line_close(struct line *line) {
    if (line->terminal_changed) {
        tcsetattr(line->input, TCSANOW, &line->terminal);
    }
    if (line->pty) {
        close(line->input);
    }
}

bool line_check(struct line *line) {
    if (line->pty) {
        struct pollfd pollfd = {.fd = line->input};

        line->connected = poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLHUP);
    }
    return line->connected;
}

size_t line_read(struct line *line, void *bytes, size_t size) {
    struct pollfd pollfd = {.fd = line->input, .events = POLLIN};
    ssize_t count;

    /* Standard input is shared with others, so it stays blocking: ask first. */
    if (size == 0 || line->input_ended || poll(&pollfd, 1, 0) <= 0) {
        return 0;
    }
    count = read(line->input, bytes, size);
    if (count <= 0 && !line->pty && !(count < 0 && (errno == EAGAIN || errno == EINTR))) {
        line->input_ended = true;
    }
    return count > 0 ? (size_t)count : 0;
}

size_t line_write(struct line *line, const void *bytes, size_t count) {
    struct pollfd pollfd = {.fd = line->output, .events = POLLOUT};
    ssize_t written;

    if (count == 0 || line->output_broken || !line_check(line)) {
        return count;
    }
    /* Blocking like the input.  Room at all is room for these few bytes. */
    if (poll(&pollfd, 1, 0) <= 0) {
        return 0;
    }
    written = write(line->output, bytes, count);
    if (written >= 0) {
        return (size_t)written;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return 0;
    }
    if (!line->pty) {
        line->output_broken = true;
    }
    return count;
}
