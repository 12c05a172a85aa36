/* SPDX-License-Identifier: MIT */
/*
 * names_ja: fingerprints of TLS clients. JA3 is the MD5 of what the hello offers, in its order;
 * JA4 (FoxIO's "JA4: TLS Client Fingerprinting") sorts, so that clients that shuffle their
 * extensions keep their fingerprint. Values of RFC 8701 (GREASE) do not count in either.
 */
#ifndef WEIR_HOOKS_NAMES_JA_H
#define WEIR_HOOKS_NAMES_JA_H

#include "names_tls.h"

#define NAMES_JA3_SIZE 33
#define NAMES_JA4_SIZE 37

struct names_ja;

/** names_ja_new - the hash functions, fetched now, as later nothing can be loaded; NULL */
struct names_ja *names_ja_new(void);
void names_ja_free(struct names_ja *ja);
/** names_ja3 - false when there is no MD5 here (a FIPS build) */
bool names_ja3(struct names_ja *ja, const struct names_hello *h, char out[NAMES_JA3_SIZE]);
/** names_ja4 - @transport: 't' for TCP, 'q' for QUIC */
bool names_ja4(struct names_ja *ja, const struct names_hello *h, char transport,
	       char out[NAMES_JA4_SIZE]);

#endif
