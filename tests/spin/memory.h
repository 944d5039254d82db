/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: what a machine does to plain stores; included by every model.
 *
 * spin runs its processes sequentially consistent. Here a store waits in a buffer of its process, one
 * entry a cell, until a `machine` process writes it to memory at any later time and in any order:
 * weaker than x86, where a buffer is emptied in order. Only an exchange (or compare-exchange) first
 * waits for the buffer of its process, as a seq_cst read-modify-write and a seq_cst store do. A load
 * sees its own buffer, then memory.
 *
 * Define PROCESSES and CELLS before the include and start one machine(process, cell) for every cell
 * that a process stores to plainly.
 */
byte memory[CELLS];
byte pending[PROCESSES * CELLS];
bool dirty[PROCESSES * CELLS];
byte dirty_count[PROCESSES];

#define ENTRY(me, cell) ((me) * CELLS + (cell))

inline store(who, cell, stored)
{
    atomic {
        !dirty[ENTRY(who, cell)] ->
            pending[ENTRY(who, cell)] = stored;
            dirty[ENTRY(who, cell)] = true;
            dirty_count[who]++;
    }
}

inline load(who, cell, loaded)
{
    d_step {
        if
        :: dirty[ENTRY(who, cell)] -> loaded = pending[ENTRY(who, cell)];
        :: else -> loaded = memory[cell];
        fi
    }
}

inline exchange(who, cell, stored, loaded)
{
    atomic {
        dirty_count[who] == 0 -> loaded = memory[cell]; memory[cell] = stored;
    }
}

/* Atomic, but earlier stores of the process may still wait in its buffer. */
inline relaxed_compare_exchange(cell, expected, stored, swapped)
{
    atomic {
        swapped = (memory[cell] == expected);
        if
        :: swapped -> memory[cell] = stored;
        :: else
        fi
    }
}

inline compare_exchange(who, cell, expected, stored, swapped)
{
    atomic {
        dirty_count[who] == 0 ->
            swapped = (memory[cell] == expected);
            if
            :: swapped -> memory[cell] = stored;
            :: else
            fi
    }
}

proctype machine(byte me; byte cell)
{
end:
    do
    :: atomic {
           dirty[ENTRY(me, cell)] ->
               memory[cell] = pending[ENTRY(me, cell)];
               pending[ENTRY(me, cell)] = 0;
               dirty[ENTRY(me, cell)] = false;
               dirty_count[me]--;
       }
    od
}
