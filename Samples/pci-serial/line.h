/* The far end of the serial line: this process's standard input and output, or a pseudo-terminal. */
#ifndef LINE_H
#define LINE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

struct line {
    int input, output;
    bool pty;
    bool connected;       /* someone has the terminal open; always true for stdio */
    bool input_ended;     /* stdio only */
    bool output_broken;   /* stdio only: what the guest sends from now on goes nowhere */
    bool terminal_changed; /* `terminal` is to be put back */
    struct termios terminal;
};

/* A terminal on standard input stops echoing and waiting for whole lines; Ctrl-C keeps working. */
void line_open_stdio(struct line *line);

/* Makes a pseudo-terminal and puts its path into `name`.  Returns -1 and sets errno on failure. */
int line_open_pty(struct line *line, char *name, size_t size);

void line_close(struct line *line);

/* Whether someone has the pseudo-terminal open, as of now; stores it in `connected`, too. */
bool line_check(struct line *line);

/* Bytes read, 0 if there are none at the moment (or will never be). */
size_t line_read(struct line *line, void *bytes, size_t size);

/* Bytes written or, if nobody is there to read them, thrown away; 0 if there is no room now. */
size_t line_write(struct line *line, const void *bytes, size_t count);

#endif
