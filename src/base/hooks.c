/* SPDX-License-Identifier: Apache-2.0 */
/* hooks: the variables of the test build; in other builds this file is empty. */
#include "base/hooks.h"

#ifdef PC_HOOKS
void (*pc_point_hook)(const char *name);
void (*pc_locking_hook)(void *mutex);
enum pc_bug pc_planted_bug;
#else
typedef int pc_hooks_not_built;
#endif
