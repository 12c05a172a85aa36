/* SPDX-License-Identifier: MIT */
/*
 * owner_ident: who one process is, read through a descriptor of its /proc/PID.
 *
 * Such a descriptor stays with the process, not with the number: after its end
 * every read fails, also when the pid has been given to another one.
 */
#ifndef WEIR_OWNER_IDENT_H
#define WEIR_OWNER_IDENT_H

#include "owner.h"

#include <stdint.h>
#include <sys/types.h>

/**
 * struct owner_mark - tells one program image of a process from the next
 *
 * execve(2) moves the stack (address space randomization), and nearly always
 * changes comm or the executable; setuid(2) changes the owner of /proc/PID.
 */
struct owner_mark {
	char comm[16];
	int32_t ppid;
	uint64_t start_ticks, code, stack;
	uint32_t uid;
	uint64_t exe_hash;
};

/** owner_mark_read - cheap: three system calls; @stat_fd is its /proc/PID/stat; 0 or -errno */
int owner_mark_read(int dir_fd, int stat_fd, struct owner_mark *m);
/** owner_mark_same - the same image by the same user? (the parent may have changed) */
int owner_mark_same(const struct owner_mark *a, const struct owner_mark *b);
/** owner_ident_read - all of @o but its id; what can't be read stays empty; 0 or -errno */
int owner_ident_read(int dir_fd, pid_t pid, const struct owner_mark *m, struct owner *o);
/** owner_ident_parent_exe - of an ancestor that runs and is the one of @start_ticks (0: any) */
void owner_ident_parent_exe(struct owner_parent *p, uint64_t start_ticks);
/** owner_ident_changed - @o's process runs, but as another program or user than @o says */
bool owner_ident_changed(const struct owner *o);
/** owner_ident_cgroup - only the cgroup of @o */
void owner_ident_cgroup(int dir_fd, struct owner *o);
/** owner_ident_user - its name, remembered; "" when there is no such user */
void owner_ident_user(uint32_t uid, char *out, size_t size);
/** owner_ident_clean - make NUL-separated @text of @len bytes printable, NUL at the end */
void owner_ident_clean(char *text, size_t len);

/** struct owner_stat - what /proc/PID/stat says */
struct owner_stat {
	char comm[16];
	int32_t ppid;
	uint64_t start_ticks, code, stack;
};

/** owner_stat_parse - hostile comm included; 0 or -EBADMSG */
int owner_stat_parse(const char *text, size_t len, struct owner_stat *s);

#endif
