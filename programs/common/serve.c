/* SPDX-License-Identifier: Apache-2.0 */
/* serve: the life of a serving sub-command. */
#include "programs/common/serve.h"

#include "percore_version.h"
#include "programs/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void pc_serve_emit(void *ctx, const char *line)
{
    fprintf(stderr, "%s\n", line);
}

void pc_serve_announce(const struct pc_serving *serving, const struct pc_runtime *runtime)
{
    struct pc_choice choice;
    pc_runtime_choice(runtime, &choice);
    printf("%s %s, model %s\n", serving->program, PC_VERSION, choice.model);
    printf("cores    %s\n", choice.cores);
    if (choice.worker_count > 0) {
        printf("workers  %u\n", choice.worker_count);
    }
    printf("poller   %s (%s)\n", choice.poller, choice.poller_why);
    const char *address;
    for (unsigned i = 0; (address = pc_runtime_address(runtime, i)) != NULL; i++) {
        printf("listen   %s\n", address);
    }
    if (serving->memory != NULL) {
        printf("memory   %s\n", serving->memory);
    }
    for (unsigned i = 0; serving->talk != NULL && serving->talk[i] != NULL; i++) {
        printf("%s %s\n", i == 0 ? "talk    " : "        ", serving->talk[i]);
    }
    printf("stop     Ctrl-C or kill %d: answers what it has, then ends; kill -USR2 %d: counters\n",
           (int)getpid(), (int)getpid());
    fflush(stdout);
}

int pc_serve_run(const struct pc_serving *serving, struct pc_runtime *runtime)
{
    if (!serving->quiet) {
        pc_serve_announce(serving, runtime);
    }
    int outcome = pc_runtime_run(runtime);
    pc_runtime_destroy(runtime);
    if (outcome < 0) {
        fprintf(stderr, "%s: %s\n", serving->program, strerror(-outcome));
        return PC_EXIT_TROUBLE;
    }
    if (outcome > 0) {
        fprintf(stderr, "%s: %d connection%s cut at the end of the drain\n", serving->program,
                outcome, outcome == 1 ? " was" : "s were");
        return PC_EXIT_CUT;
    }
    return PC_EXIT_FINE;
}
