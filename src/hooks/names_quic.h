/* SPDX-License-Identifier: MIT */
/*
 * names_quic: the ClientHello in a client's QUIC Initial packets, version 1 (RFC 9000, 9001) and 2
 * (RFC 9369). They are encrypted with keys that anybody can derive who has seen the first one.
 */
#ifndef WEIR_HOOKS_NAMES_QUIC_H
#define WEIR_HOOKS_NAMES_QUIC_H

#include "names_tls.h"

#define NAMES_QUIC_CID_MAX 20

/* what a datagram looks like, by its unprotected head */
enum names_quic_kind {
	NAMES_QUIC_NO,
	NAMES_QUIC_INITIAL, /* of a version that can be read */
	NAMES_QUIC_FOREIGN, /* of another one */
};

struct names_quic_keys {
	uint8_t key[16], iv[12], hp[16];
};

/**
 * struct names_quic - the client's side of a connection so far; zero is its beginning
 * @genuine: a packet was decrypted, so it is QUIC
 * @hello: what CRYPTO frames brought; @seen has a bit for each byte of it
 */
struct names_quic {
	bool genuine;
	uint8_t cid_len;
	uint8_t cid[NAMES_QUIC_CID_MAX]; /* that the keys are made from */
	uint32_t version;
	struct names_quic_keys keys;
	uint64_t next_number;
	unsigned datagrams;
	struct names_buf hello, seen;
};

struct names_quic_lib;

/** names_quic_lib_new - the ciphers, fetched now, as later nothing can be loaded; NULL */
struct names_quic_lib *names_quic_lib_new(void);
void names_quic_lib_free(struct names_quic_lib *lib);

enum names_quic_kind names_quic_start(const uint8_t *data, size_t len);
/**
 * names_quic_feed - the client's next datagram
 *
 * NAMES_FOUND: *@msg is the ClientHello with its header, in @q. NAMES_NOT: no QUIC, or
 * there will be no hello.
 */
enum names_step names_quic_feed(struct names_quic_lib *lib, struct names_quic *q,
				const uint8_t *data, size_t len, struct names_view *msg);
void names_quic_free(struct names_quic *q);
/** names_quic_derive - the client's keys; false: the library failed */
bool names_quic_derive(struct names_quic_lib *lib, uint32_t version, const uint8_t *cid,
		       size_t cid_len, struct names_quic_keys *out);

#endif
