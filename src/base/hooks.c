/* SPDX-License-Identifier: Apache-2.0 */
/* hooks: the two variables of the test build; in other builds this file is empty. */
#include "base/hooks.h"

#ifdef PC_HOOKS
void (*pc_point_hook)(const char *name);
enum pc_bug pc_planted_bug;
#else
typedef int pc_hooks_not_built;
#endif
