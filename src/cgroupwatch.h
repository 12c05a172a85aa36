/* SPDX-License-Identifier: MIT */
/*
 * cgroupwatch: the selection's cgroups that come, go and are made again, in the nftables sets of
 * both of weir's tables. cgroupwatch.c opens with why nothing passes meanwhile.
 */
#ifndef WEIR_CGROUPWATCH_H
#define WEIR_CGROUPWATCH_H

#include "nft.h"
#include "select.h"

#include <stdio.h>

struct cgroupwatch;

/**
 * cgroupwatch_open - watch for those of @s
 * @mount: where the hierarchy of cgroup v2 is; both borrowed
 *
 * 0 or -errno. *@out is owned; NULL where @s has no cgroups, which all the others accept.
 */
int cgroupwatch_open(struct cgroupwatch **out, const struct selection *s, const char *mount);
void cgroupwatch_close(struct cgroupwatch *w);
/** cgroupwatch_fd - readable when directories came or went; -1: none */
int cgroupwatch_fd(const struct cgroupwatch *w);
/**
 * cgroupwatch_print - nft text that puts the cgroups that are there now into their sets of @table,
 * for a transaction that makes the table anew; valid until cgroupwatch_printed()
 */
void cgroupwatch_print(struct cgroupwatch *w, const char *table, FILE *f);
void cgroupwatch_printed(struct cgroupwatch *w);
/** cgroupwatch_fill - everything, when tables were made anew, or to be sure; 0 or -errno */
int cgroupwatch_fill(struct cgroupwatch *w, struct nft *n);
/** cgroupwatch_serve - what has come since; returns how many selected ones have, or -errno */
int cgroupwatch_serve(struct cgroupwatch *w, struct nft *n);

#endif
