/* SPDX-License-Identifier: Apache-2.0 */
/* commands: the sub-commands of percore; argv[0] is the sub-command's name. */
#ifndef PC_PROGRAMS_COMMANDS_H
#define PC_PROGRAMS_COMMANDS_H

/* Exit codes that every sub-command keeps; each may add its own above. */
enum { PC_EXIT_FINE = 0, PC_EXIT_TROUBLE = 1, PC_EXIT_USAGE = 2, PC_EXIT_CUT = 3 };

#define PC_COMMAND(name, help) int pc_command_##name(int argc, char **argv);
#include "programs/commands.def"
#undef PC_COMMAND

#endif
