/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: who may not use a unix socket never could. Method: a runtime is created on the real kernel
 * with two calls looked at: what the file's mode is when it begins to listen, and what it would be
 * to whoever is faster than we are.
 */
#include "base/check.h"
#include "runtime/kernel.h"
#include "services/echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants those above. */
#include <cmocka.h>

struct watched {
    struct pc_kernel kernel;
    const char *path;
    mode_t listening; /* the file's mode when listen was called */
    unsigned listen_count;
};

static int watched_listen(const struct pc_kernel *kernel, int fd, int backlog)
{
    struct watched *watched = PC_KERNEL_OWNER(kernel, struct watched, kernel);
    struct stat status;
    assert_int_equal(stat(watched->path, &status), 0);
    watched->listening = status.st_mode & 0777;
    watched->listen_count++;
    return pc_kernel_linux()->listen(kernel, fd, backlog);
}

static void a_unix_socket_listens_only_with_its_mode(void **state)
{
    static const unsigned modes[] = {0700, 0660, 0777};
    char folder[] = "/tmp/percore-listen-XXXXXX", path[64], address[72], trouble[128] = "";
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/socket", folder);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    const char *const listen[] = {address};
    const struct pc_service echo = pc_echo_service(1024, false);
    for (unsigned i = 0; i < PC_COUNT_OF(modes); i++) {
        struct watched watched = {.kernel = *pc_kernel_linux(), .path = path};
        watched.kernel.listen = watched_listen;
        const struct pc_config config = {.listen = listen,
                                         .listen_count = 1,
                                         .core_count = 1,
                                         .unix_mode = modes[i],
                                         .signals_declined = true,
                                         .kernel = &watched.kernel};
        struct pc_runtime *runtime;
        const mode_t before = umask(0);
        const int outcome =
            pc_runtime_create(&config, &echo, NULL, &runtime, trouble, sizeof(trouble));
        (void)umask(before);
        assert_int_equal(outcome, 0);
        assert_int_equal(watched.listen_count, 1);
        assert_int_equal(watched.listening, modes[i]);
        pc_runtime_destroy(runtime);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unix_socket_listens_only_with_its_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
