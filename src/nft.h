/* SPDX-License-Identifier: MIT */
/*
 * nft: weir's own nftables tables, by libnftables: text in, one transaction, text of an
 * error out. Works in the network namespace that the caller is in when it opens.
 */
#ifndef WEIR_NFT_H
#define WEIR_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nft;

int nft_open(struct nft **out);
void nft_close(struct nft *n);
/** nft_apply - all of @text or nothing; 0, or -EINVAL with one line in @err */
int nft_apply(struct nft *n, const char *text, char *err, size_t errsize);
/**
 * nft_table_delete - `inet @table` and `netdev @table`; @table: letters, digits and _ only
 *
 * 0, -ENOENT (there is neither), -errno.
 */
int nft_table_delete(struct nft *n, const char *table);
/** nft_table_exists - of family inet */
bool nft_table_exists(struct nft *n, const char *table);

/** struct nft_id - an element of a set of numbers of 64 bits, as those of cgroups are */
struct nft_id {
	char set[16];
	uint64_t id;
};
/**
 * nft_ids_add - as one, up to some thousands, and without the library's reading of all tables first
 * @anew: these sets have nothing else then
 *
 * What is there already is no error. 0, -ENOENT (no such table or set), -errno.
 */
int nft_ids_add(struct nft *n, const char *table, const struct nft_id *ids, size_t n_ids,
		bool anew);

/** nft_watch_open - a non-blocking descriptor (NFNLGRP_NFTABLES); or -errno */
int nft_watch_open(void);
/**
 * nft_watch_read - was anything of a table whose name starts with "weir" deleted?
 *
 * Tables, chains, rules, sets and objects count, elements of sets do not: those come and go
 * with connections. What @own (may be NULL) did is left out. Returns 1 (or when messages
 * were lost), 0, -errno.
 */
int nft_watch_read(int fd, const struct nft *own);

#endif
