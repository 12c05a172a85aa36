/* SPDX-License-Identifier: MIT */
/*
 * owner_bpf: who used a socket, as noted by the kernel at that moment.
 *
 * Needs root, Linux 5.17 or later with type information (/sys/kernel/btf/vmlinux), a cgroup
 * version 2 hierarchy, and a weir that was built with it. src/bpf/owner.bpf.c is
 * what runs in the kernel. It is attached by links that are descriptors of ours:
 * when we end, however that may be, nothing is left.
 */
#ifndef WEIR_OWNER_BPF_H
#define WEIR_OWNER_BPF_H

#include "owner.h"
#include "owner_sockdiag.h"
#include "select.h"

#include <stdbool.h>
#include <stddef.h>

struct owner_bpf;

/** owner_bpf_built - whether this weir has it at all */
bool owner_bpf_built(void);
/**
 * owner_bpf_open - note from now on what happens in the network namespace of @sock_fd
 * @sock_fd: any socket made inside
 *
 * Returns 0, or -errno with the reason in @err: -EOPNOTSUPP when not built.
 */
int owner_bpf_open(int sock_fd, struct owner_bpf **out, char *err, size_t errsize);
void owner_bpf_free(struct owner_bpf *ob);
/**
 * owner_bpf_find - who sends @q
 * @live: what sock_diag says of @q, NULL = not asked yet
 *
 * Returns true with @a filled, also when it is known that several may have
 * been it (OWNER_SHARED); false when nothing was noted, or @live is needed to be sure.
 */
bool owner_bpf_find(struct owner_bpf *ob, const struct owner_query *q,
		    const struct owner_sock *live, struct owner_answer *a);
/** owner_bpf_choose - note the sockets of @users only; @n 0, or too many: of all. 0 or -errno */
int owner_bpf_choose(struct owner_bpf *ob, const struct id_range *users, unsigned n);
/** owner_bpf_get - valid until the next owner_bpf_find(); NULL when unknown or long past */
const struct owner *owner_bpf_get(const struct owner_bpf *ob, uint32_t id);

/* ids of owners that owner_bpf made have this bit, those of owner_proc never */
#define OWNER_BPF_ID (1u << 31)

#endif
