/* SPDX-License-Identifier: Apache-2.0 */
/* poller: the table of choices and the self-test that picks one. */
#include "runtime/poller/poller.h"

#include "base/check.h"

#include <string.h>

static const struct pc_poller_ops *const rows[] = {
#define PC_POLLER(name) &pc_poller_##name,
#include "runtime/poller/pollers.def"
#undef PC_POLLER
};

const struct pc_poller_ops *pc_poller_row(unsigned index)
{
    return index < PC_COUNT_OF(rows) ? rows[index] : NULL;
}

/* It can be made, rung and waited for. */
static bool works(const struct pc_poller_ops *ops, const struct pc_kernel *kernel)
{
    struct pc_poller *poller = NULL;
    if (ops->create(kernel, &poller) < 0) {
        return false;
    }
    struct pc_ready ready;
    ops->bell(poller);
    bool woke = ops->wait(poller, 0, &ready, 1) == 0;
    ops->destroy(poller);
    return woke;
}

const struct pc_poller_ops *pc_poller_choose(const char *name, const struct pc_kernel *kernel,
                                             const char **out_why)
{
    const struct pc_poller_ops *ops;
    for (unsigned i = 0; (ops = pc_poller_row(i)) != NULL; i++) {
        if (name != NULL && strcmp(name, ops->name) == 0) {
            *out_why = "as asked";
            return ops;
        }
        if (name == NULL && works(ops, kernel)) {
            *out_why = "the best that passed its self-test";
            return ops;
        }
    }
    return NULL;
}
