/* Set-up and clean-up round each test: counting what must not leak, temporary files, a watchdog. */
#include "support.h"
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>

#define GUEST_NAME "vfu-test-guest"
#define SECONDS_PER_TEST 60

static char directory[64];
static size_t fds_before;
static size_t mappings_before;

bool on_reference(void)
{
    const char *value = getenv("VFU_TEST_REFERENCE");
    return value != NULL && strcmp(value, "1") == 0;
}

bool with_shadow_ioeventfd(void)
{
    const char *value = getenv("VFU_TEST_NO_SHADOW");
    return value == NULL || strcmp(value, "1") != 0;
}

const char *temp_path(const char *name)
{
    static char path[108];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

size_t fd_count(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            count++;
        }
    }
    closedir(dir);
    return count - 1; /* the directory itself */
}

size_t guest_mapping_count(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t count = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (strstr(line, GUEST_NAME) != NULL) {
            count++;
        }
    }
    fclose(maps);
    return count;
}

int guest_file(size_t size)
{
    int fd = memfd_create(GUEST_NAME, MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

uint8_t *guest_view(int fd, size_t size)
{
    void *view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(view != MAP_FAILED);
    return view;
}

int new_eventfd(unsigned initial)
{
    int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

uint64_t eventfd_value(int fd)
{
    uint64_t value = 0;
    ssize_t n = read(fd, &value, sizeof(value));

    if (n == -1) {
        assert_int_equal(errno, EAGAIN);
        return 0;
    }
    assert_int_equal(n, sizeof(value));
    return value;
}

static void on_alarm(int signal __attribute__((unused)))
{
    static const char text[] = "\n# the test hangs\n";

    if (write(STDOUT_FILENO, text, sizeof(text) - 1) == -1) {
        _exit(3);
    }
    _exit(2);
}

int before_all(void **state __attribute__((unused)))
{
    struct sigaction action = {.sa_handler = on_alarm};
    const char *base = getenv("TMPDIR");

    if (setvbuf(stdout, NULL, _IOLBF, 0) != 0 || sigaction(SIGALRM, &action, NULL) != 0) {
        return -1;
    }
    if (base == NULL || strlen(base) > 30) {
        base = "/tmp";
    }
    snprintf(directory, sizeof(directory), "%s/vfu-test-XXXXXX", base);
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    /* What a library opens once and for all is not counted: let it do so now. */
    vfu_destroy_ctx(vfu_create_ctx(VFU_TRANS_SOCK, temp_path("warm-up"), LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                   VFU_DEV_TYPE_PCI));
    return 0;
}

int after_all(void **state __attribute__((unused)))
{
    return rmdir(directory);
}

int before_each(void **state __attribute__((unused)))
{
    alarm(SECONDS_PER_TEST);
    memset(&calls, 0, sizeof(calls));
    fds_before = fd_count();
    mappings_before = guest_mapping_count();
    return 0;
}

int after_each(void **state __attribute__((unused)))
{
    size_t fds, mappings;

    end_all_sessions();
    fds = fd_count();
    mappings = guest_mapping_count();
    alarm(0);
    if (fds != fds_before) {
        print_error("# %zu fds before the test, %zu after it\n", fds_before, fds);
        return -1;
    }
    if (mappings != mappings_before) {
        print_error("# %zu guest mappings before the test, %zu after it\n", mappings_before, mappings);
        return -1;
    }
    return 0;
}
