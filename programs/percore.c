/* SPDX-License-Identifier: Apache-2.0 */
/* percore: one program, a sub-command for each job. */
#include "programs/commands.h"

#include "percore_version.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
#define PC_COMMAND(name, help) {#name, pc_command_##name, help},
#include "programs/commands.def"
#undef PC_COMMAND
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
    printf("percore %s\n\nusage: percore COMMAND [flags]; percore COMMAND --help says more\n\n",
           PC_VERSION);
    for (unsigned i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    }
}

static int refuse(const char *name)
{
    fprintf(stderr, "percore: unknown command '%s' (legal:", name);
    for (unsigned i = 0; i < COMMAND_COUNT; i++) {
        fprintf(stderr, " %s", commands[i].name);
    }
    fprintf(stderr, ")\n");
    return PC_EXIT_USAGE;
}

/* Whoever starts us as memcached, by a link in its place, means the cache. */
static bool called_memcached(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash != NULL ? slash + 1 : path, "memcached") == 0;
}

int main(int argc, char **argv)
{
    if (argc > 0 && called_memcached(argv[0])) {
        return pc_command_cache(argc, argv);
    }
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        help();
        return argc > 1 ? PC_EXIT_FINE : PC_EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("percore %s\n", PC_VERSION);
        return PC_EXIT_FINE;
    }
    for (unsigned i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    return refuse(name);
}
