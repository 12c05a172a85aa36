/* SPDX-License-Identifier: MIT */
/*
 * inbound_bpf: the programs that steer connections to the selected's servers into weir, from
 * outside. src/bpf/inbound.bpf.c is what runs in the kernel.
 *
 * Needs what owner_bpf.h needs. The programs are attached by links that are descriptors of
 * ours: when we end, however that may be, servers are reached as before.
 */
#ifndef WEIR_INBOUND_BPF_H
#define WEIR_INBOUND_BPF_H

#include "inbound_select.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inbound_bpf;

/** struct inbound_event - as struct ib_event has it, readable */
struct inbound_event {
	enum ib_kind kind;
	uint8_t proto;
	uint32_t uid, dev;
	struct addrport at;
};

/**
 * inbound_bpf_open - in the network namespace that we are in; nothing is steered yet
 * @sock_fd: any socket made in it
 * @worker: the relay's uid, whose own listeners are left alone
 *
 * 0, or -errno with the reason in @err: -EOPNOTSUPP when not built.
 */
int inbound_bpf_open(int sock_fd, uint32_t worker, struct inbound_bpf **out, char *err,
		     size_t errsize);
void inbound_bpf_free(struct inbound_bpf *ib);
/** inbound_bpf_door - @fd, which listens, is where connections of its family are steered to */
int inbound_bpf_door(struct inbound_bpf *ib, enum ib_door door, int fd);
/**
 * inbound_bpf_select - another selection; inbound_bpf_scan() is due then
 *
 * Meanwhile what listens is judged by the old one, or by some of the new one's selectors.
 */
int inbound_bpf_select(struct inbound_bpf *ib, const struct inbound_select *s);
/** inbound_bpf_cgroup - @id is number @index of the selection's cgroups; a scan is due then */
int inbound_bpf_cgroup(struct inbound_bpf *ib, const struct inbound_select *s, unsigned index,
		       uint64_t id);
/** inbound_bpf_own - the host's own addresses: who comes from there is not steered */
int inbound_bpf_own(struct inbound_bpf *ib, const struct addr *own, unsigned n);
/** inbound_bpf_steer - on: with what comes from device @tun left alone; 0: off */
int inbound_bpf_steer(struct inbound_bpf *ib, unsigned tun);
/** inbound_bpf_scan - see to what listens already; 0 or -errno */
int inbound_bpf_scan(struct inbound_bpf *ib);

int inbound_bpf_fd(const struct inbound_bpf *ib); /* readable when events wait */
/** inbound_bpf_events - all that wait; 0 or -errno */
int inbound_bpf_events(struct inbound_bpf *ib, void (*fn)(void *ctx, const struct inbound_event *e),
		       void *ctx);

#endif
