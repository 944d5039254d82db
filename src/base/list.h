/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: intrusive doubly linked list with a head; a node is in at most one list.
 *
 * Owner    Whoever owns the head; nothing here is safe to share between threads.
 * Memory   Nodes live inside their objects; the list allocates nothing.
 * Cost     Every operation is a few stores.
 */
#ifndef PC_BASE_LIST_H
#define PC_BASE_LIST_H

#include "base/check.h"

#include <stdbool.h>

/* In a list: both pointers set. In none: both NULL. A head points at itself when empty. */
struct pc_list {
    struct pc_list *next, *prev;
};

static inline void pc_list_init(struct pc_list *head)
{
    head->next = head->prev = head;
}

static inline bool pc_list_empty(const struct pc_list *head)
{
    return head->next == head;
}

static inline bool pc_list_linked(const struct pc_list *node)
{
    return node->next != NULL;
}

static inline void pc_list_append(struct pc_list *head, struct pc_list *node)
{
    PC_ASSERT(!pc_list_linked(node));
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Harmless on a node that is in no list. */
static inline void pc_list_remove(struct pc_list *node)
{
    if (!pc_list_linked(node)) {
        return;
    }
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

/* The first node, taken out; NULL when the list is empty. */
static inline struct pc_list *pc_list_take(struct pc_list *head)
{
    struct pc_list *node = head->next;
    if (node == head) {
        return NULL;
    }
    pc_list_remove(node);
    return node;
}

/* Move all of `from` to the end of `head`; `from` is left empty. */
static inline void pc_list_splice(struct pc_list *head, struct pc_list *from)
{
    if (pc_list_empty(from)) {
        return;
    }
    from->next->prev = head->prev;
    head->prev->next = from->next;
    from->prev->next = head;
    head->prev = from->prev;
    pc_list_init(from);
}

#endif
