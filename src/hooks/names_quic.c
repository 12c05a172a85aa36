/* SPDX-License-Identifier: MIT */
/*
 * A datagram holds packets one after the other; those that are no Initial are stepped over. A
 * packet is decrypted where its tag is right, and forgotten where not: anybody may send one. The
 * CRYPTO frames inside may come in any order, split anywhere, over several datagrams, and again.
 *
 * After a Retry the client goes on with keys from the identifier that the server chose. Those
 * are tried when the first ones fail, and what came before is forgotten, as a server does.
 */
#include "names_quic.h"

#include <stdio.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define QUIC_V1	      0x00000001u
#define QUIC_V2	      0x6b3343cfu
#define LONG_HEADER   0x80
#define FIXED_BIT     0x40
#define TAG	      16
#define SAMPLE	      16
#define SECRET	      32
#define NUMBER_MAX    4
#define DATAGRAMS_MAX 32    /* looked at before giving up: hellos take one to three */
#define PACKETS_MAX   8	    /* Initials of a datagram: keys are made for each that fails */
#define PACKET_MAX    16384 /* bytes of a packet that are looked at */
#define FRAMES_MAX    1024  /* in a packet: padding counts as one */
#define DATAGRAM_MIN  1200  /* the least that a client's first one has (RFC 9000, 14.1) */

enum packet_type { PACKET_INITIAL, PACKET_OTHER, PACKET_RETRY };

enum frame_type {
	FRAME_PADDING = 0x00,
	FRAME_PING = 0x01,
	FRAME_ACK = 0x02,
	FRAME_ACK_ECN = 0x03,
	FRAME_CRYPTO = 0x06,
};

struct names_quic_lib {
	EVP_CIPHER *ecb, *gcm;
	EVP_CIPHER_CTX *cipher;
	EVP_MAC *hmac;
	EVP_MAC_CTX *mac;
	uint8_t plain[PACKET_MAX];
};

/**
 * struct packet - a long header, taken apart; views lie in the datagram
 * @head: from the first byte up to the packet number
 * @rest: from the packet number to the packet's end
 */
struct packet {
	enum packet_type type;
	uint32_t version;
	struct names_view cid, head, rest;
};

/* --- the library ----------------------------------------------------------------------------- */

struct names_quic_lib *names_quic_lib_new(void)
{
	struct names_quic_lib *lib = calloc(1, sizeof(*lib));
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};

	if (!lib)
		return NULL;
	lib->ecb = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	lib->gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	lib->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	lib->cipher = EVP_CIPHER_CTX_new();
	lib->mac = lib->hmac ? EVP_MAC_CTX_new(lib->hmac) : NULL;
	if (lib->ecb && lib->gcm && lib->cipher && lib->mac &&
	    EVP_MAC_CTX_set_params(lib->mac, params) == 1)
		return lib;
	names_quic_lib_free(lib);
	return NULL;
}

void names_quic_lib_free(struct names_quic_lib *lib)
{
	if (!lib)
		return;
	EVP_CIPHER_free(lib->ecb);
	EVP_CIPHER_free(lib->gcm);
	EVP_CIPHER_CTX_free(lib->cipher);
	EVP_MAC_CTX_free(lib->mac);
	EVP_MAC_free(lib->hmac);
	free(lib);
}

/* --- keys: RFC 9001, 5.2; RFC 9369, 3.3 ---------------------------------------------------------
 */

static bool hmac(struct names_quic_lib *lib, const uint8_t *key, size_t key_len,
		 const uint8_t *data, size_t len, uint8_t out[SECRET])
{
	size_t n;

	return EVP_MAC_init(lib->mac, key, key_len, NULL) == 1 &&
	       EVP_MAC_update(lib->mac, data, len) == 1 &&
	       EVP_MAC_final(lib->mac, out, &n, SECRET) == 1 && n == SECRET;
}

/* expand - HKDF-Expand-Label of TLS 1.3 with an empty context; up to one block */
static bool expand(struct names_quic_lib *lib, const uint8_t secret[SECRET], const char *label,
		   uint8_t *out, size_t n)
{
	uint8_t info[64], block[SECRET];
	int len = snprintf((char *)info + 3, sizeof(info) - 5, "tls13 %s", label);

	info[0] = 0;
	info[1] = (uint8_t)n;
	info[2] = (uint8_t)len;
	info[3 + len] = 0;
	info[4 + len] = 1; /* the number of the block */
	if (!hmac(lib, secret, SECRET, info, (size_t)len + 5, block))
		return false;
	memcpy(out, block, n);
	return true;
}

bool names_quic_derive(struct names_quic_lib *lib, uint32_t version, const uint8_t *cid,
		       size_t cid_len, struct names_quic_keys *out)
{
	static const uint8_t salt_v1[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34,
					  0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
					  0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
	static const uint8_t salt_v2[] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6,
					  0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
					  0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9};
	bool v2 = version == QUIC_V2;
	uint8_t initial[SECRET], client[SECRET];

	return hmac(lib, v2 ? salt_v2 : salt_v1, sizeof(salt_v1), cid, cid_len, initial) &&
	       expand(lib, initial, "client in", client, sizeof(client)) &&
	       expand(lib, client, v2 ? "quicv2 key" : "quic key", out->key, sizeof(out->key)) &&
	       expand(lib, client, v2 ? "quicv2 iv" : "quic iv", out->iv, sizeof(out->iv)) &&
	       expand(lib, client, v2 ? "quicv2 hp" : "quic hp", out->hp, sizeof(out->hp));
}

/* --- packets ------------------------------------------------------------------------------------
 */

/* take_varint - RFC 9000, 16; up to 2^62 - 1 */
static bool take_varint(struct names_view *v, uint64_t *out)
{
	uint32_t high, low = 0;
	size_t n = v->len ? (size_t)1 << (v->at[0] >> 6) : 1;

	if (!names_take_number(v, n < 4 ? n : 4, &high) ||
	    (n == 8 && !names_take_number(v, 4, &low)))
		return false;
	*out = n == 8	? (uint64_t)(high & 0x3fffffff) << 32 | low
	       : n == 4 ? high & 0x3fffffff
	       : n == 2 ? high & 0x3fff
			: high & 0x3f;
	return true;
}

/* take_bytes - a length as a varint, and the bytes */
static bool take_bytes(struct names_view *v, struct names_view *out)
{
	uint64_t n;

	return take_varint(v, &n) && n <= v->len && names_take(v, (size_t)n, out);
}

static bool take_cid(struct names_view *v, struct names_view *out)
{
	return names_take_vector(v, 1, out) && out->len <= NAMES_QUIC_CID_MAX;
}

static bool readable(uint32_t version)
{
	return version == QUIC_V1 || version == QUIC_V2;
}

static enum packet_type type_of(uint8_t first, uint32_t version)
{
	unsigned bits = first >> 4 & 3;

	if (version == QUIC_V2) /* the same types, one further */
		bits = (bits + 3) & 3;
	return bits == 0 ? PACKET_INITIAL : bits == 3 ? PACKET_RETRY : PACKET_OTHER;
}

/* take_packet - the next packet of a datagram, which has a long header of a version that can be
 * read and a length; false: there is none */
static bool take_packet(struct names_view *v, struct packet *p)
{
	const uint8_t *start = v->at;
	struct names_view scid, token;
	uint32_t first;

	if (!names_take_number(v, 1, &first) || !(first & LONG_HEADER) || !(first & FIXED_BIT) ||
	    !names_take_number(v, 4, &p->version) || !readable(p->version) ||
	    !take_cid(v, &p->cid) || !take_cid(v, &scid))
		return false;
	p->type = type_of((uint8_t)first, p->version);
	if (p->type == PACKET_RETRY || (p->type == PACKET_INITIAL && !take_bytes(v, &token)) ||
	    !take_bytes(v, &p->rest))
		return false;
	p->head = (struct names_view){start, (size_t)(p->rest.at - start)};
	return true;
}

/*
 * foreign - a version that somebody uses: drafts, Google's, Facebook's, or made to be refused
 * (RFC 9000, 15). Any number would do by the RFC, but random bytes have one, too
 */
static bool foreign(uint32_t version)
{
	return version >> 8 == 0xff0000 || (version & 0x0f0f0f0f) == 0x0a0a0a0a ||
	       version >> 24 == 'Q' || version >> 24 == 'T' || version >> 4 == 0xfaceb00;
}

enum names_quic_kind names_quic_start(const uint8_t *data, size_t len)
{
	struct names_view v = {data, len}, cid;
	struct packet p;
	uint32_t first, version;

	if (take_packet(&v, &p))
		return NAMES_QUIC_INITIAL; /* or early data, which may overtake it */
	v = (struct names_view){data, len};
	if (len < DATAGRAM_MIN || !names_take_number(&v, 1, &first) || !(first & LONG_HEADER) ||
	    !(first & FIXED_BIT) || !names_take_number(&v, 4, &version) || !foreign(version) ||
	    !take_cid(&v, &cid) || !take_cid(&v, &cid))
		return NAMES_QUIC_NO;
	return NAMES_QUIC_FOREIGN;
}

/* --- protection ---------------------------------------------------------------------------------
 */

/* whole_number - of a truncated packet number the one nearest to the next (RFC 9000, A.3) */
static uint64_t whole_number(uint64_t next, uint32_t truncated, unsigned bytes)
{
	uint64_t window = (uint64_t)1 << (8 * bytes);
	uint64_t n = (next & ~(window - 1)) | truncated;

	if (n + window / 2 <= next)
		return n + window;
	return n > next + window / 2 && n >= window ? n - window : n;
}

static bool mask_of(struct names_quic_lib *lib, const uint8_t *hp, const uint8_t *sample,
		    uint8_t out[SAMPLE])
{
	int n;

	return EVP_EncryptInit_ex2(lib->cipher, lib->ecb, hp, NULL, NULL) == 1 &&
	       EVP_CIPHER_CTX_set_padding(lib->cipher, 0) == 1 &&
	       EVP_EncryptUpdate(lib->cipher, out, &n, sample, SAMPLE) == 1;
}

/* open_sealed - @aad: three pieces; AES-128-GCM into lib->plain; false: not genuine */
static bool open_sealed(struct names_quic_lib *lib, const uint8_t *key, const uint8_t *nonce,
			const struct names_view aad[3], struct names_view sealed)
{
	EVP_CIPHER_CTX *ctx = lib->cipher;
	uint8_t tag[TAG];
	int n;

	memcpy(tag, sealed.at + sealed.len - TAG, TAG);
	if (EVP_DecryptInit_ex2(ctx, lib->gcm, key, nonce, NULL) != 1)
		return false;
	for (int i = 0; i < 3; i++)
		if (aad[i].len && EVP_DecryptUpdate(ctx, NULL, &n, aad[i].at, (int)aad[i].len) != 1)
			return false;
	return EVP_DecryptUpdate(ctx, lib->plain, &n, sealed.at, (int)(sealed.len - TAG)) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, lib->plain + n, &n) == 1;
}

/* decrypt - the frames of @p into lib->plain; false: these are not its keys */
static bool decrypt(struct names_quic_lib *lib, const struct names_quic_keys *k, uint64_t *next,
		    const struct packet *p, struct names_view *plain)
{
	uint8_t mask[SAMPLE], first, number[NUMBER_MAX], nonce[sizeof(k->iv)];
	struct names_view sealed = p->rest, bytes = {0};
	uint32_t truncated = 0;
	uint64_t n;
	size_t size, i;

	if (p->rest.len < NUMBER_MAX + SAMPLE || p->rest.len > PACKET_MAX ||
	    !mask_of(lib, k->hp, p->rest.at + NUMBER_MAX, mask))
		return false;
	first = p->head.at[0] ^ (mask[0] & 0x0f);
	size = (first & 3) + 1u;
	if (!names_take(&sealed, size, &bytes))
		return false;
	for (i = 0; i < size; i++) {
		number[i] = bytes.at[i] ^ mask[1 + i];
		truncated = truncated << 8 | number[i];
	}
	n = whole_number(*next, truncated, (unsigned)size);
	memcpy(nonce, k->iv, sizeof(nonce));
	for (i = 0; i < 8; i++)
		nonce[sizeof(nonce) - 1 - i] ^= (uint8_t)(n >> (8 * i));
	if (!open_sealed(lib, k->key, nonce,
			 (const struct names_view[]){
				 {&first, 1}, {p->head.at + 1, p->head.len - 1}, {number, size}},
			 sealed))
		return false;
	if (n >= *next)
		*next = n + 1;
	*plain = (struct names_view){lib->plain, sealed.len - TAG};
	return true;
}

/* --- frames -------------------------------------------------------------------------------------
 */

/* crypto - bytes of the hello; false: too many, or others than were sent before for that place */
static bool crypto(struct names_quic *q, uint64_t offset, struct names_view bytes)
{
	size_t at, end, old = q->seen.room;

	if (offset > NAMES_HELLO_MAX || offset + bytes.len > NAMES_HELLO_MAX)
		return false;
	end = (size_t)offset + bytes.len;
	if (!names_buf_room(&q->hello, end, NAMES_HELLO_MAX) ||
	    !names_buf_room(&q->seen, (end + 7) / 8, NAMES_HELLO_MAX / 8))
		return false;
	if (q->seen.room > old)
		memset(q->seen.data + old, 0, q->seen.room - old);
	for (at = (size_t)offset; at < end; at++, bytes.at++) {
		uint8_t *seen = q->seen.data + at / 8, bit = (uint8_t)(1u << at % 8);

		if (*seen & bit && q->hello.data[at] != *bytes.at)
			return false;
		q->hello.data[at] = *bytes.at;
		*seen |= bit;
	}
	while (q->hello.len < 8 * q->seen.room &&
	       q->seen.data[q->hello.len / 8] >> q->hello.len % 8 & 1)
		q->hello.len++; /* without a gap so far */
	return true;
}

static bool take_ack(struct names_view *v, bool ecn)
{
	uint64_t n, delay, ranges, i;

	/* largest, delay, count; the first range, pairs of gap and range, three counts */
	if (!take_varint(v, &n) || !take_varint(v, &delay) || !take_varint(v, &ranges) ||
	    ranges > v->len)
		return false;
	for (i = 0; i < 1 + 2 * ranges + (ecn ? 3 : 0); i++)
		if (!take_varint(v, &n))
			return false;
	return true;
}

/* take_frame - false: not one that an Initial may hold, or malformed */
static bool take_frame(struct names_quic *q, struct names_view *v)
{
	struct names_view bytes;
	uint64_t type, offset;

	if (!take_varint(v, &type))
		return false;
	switch (type) {
	case FRAME_PADDING:
		while (v->len && *v->at == FRAME_PADDING)
			names_take(v, 1, &bytes);
		return true;
	case FRAME_PING:
		return true;
	case FRAME_ACK:
	case FRAME_ACK_ECN:
		return take_ack(v, type == FRAME_ACK_ECN);
	case FRAME_CRYPTO:
		return take_varint(v, &offset) && take_bytes(v, &bytes) && crypto(q, offset, bytes);
	default: /* also a CONNECTION_CLOSE: no hello will come */
		return false;
	}
}

static bool take_frames(struct names_quic *q, struct names_view plain)
{
	for (unsigned n = 0; plain.len; n++)
		if (n == FRAMES_MAX || !take_frame(q, &plain))
			return false;
	return true;
}

/* --- a connection --------------------------------------------------------------------------------
 */

static void forget_hello(struct names_quic *q)
{
	names_buf_free(&q->hello);
	names_buf_free(&q->seen);
}

/* retried - does @p go with keys from its own identifier? */
static bool retried(struct names_quic_lib *lib, struct names_quic *q, const struct packet *p,
		    struct names_view *plain)
{
	struct names_quic_keys keys;
	uint64_t next = q->next_number;

	if (q->genuine && q->version == p->version && q->cid_len == p->cid.len &&
	    !memcmp(q->cid, p->cid.at, p->cid.len))
		return false; /* the same keys */
	if (!names_quic_derive(lib, p->version, p->cid.at, p->cid.len, &keys) ||
	    !decrypt(lib, &keys, &next, p, plain))
		return false;
	forget_hello(q);
	q->genuine = true;
	q->keys = keys;
	q->version = p->version;
	q->next_number = next;
	q->cid_len = (uint8_t)p->cid.len;
	memcpy(q->cid, p->cid.at, p->cid.len);
	return true;
}

/* take_initial - false: there will be no hello */
static bool take_initial(struct names_quic_lib *lib, struct names_quic *q, const struct packet *p)
{
	struct names_view plain;

	if (q->genuine && p->version == q->version &&
	    decrypt(lib, &q->keys, &q->next_number, p, &plain))
		return take_frames(q, plain);
	if (retried(lib, q, p, &plain))
		return take_frames(q, plain);
	return q->genuine; /* noise beside a connection is no reason, but it can't begin one */
}

enum names_step names_quic_feed(struct names_quic_lib *lib, struct names_quic *q,
				const uint8_t *data, size_t len, struct names_view *msg)
{
	struct names_view v = {data, len};
	bool initial = false;
	struct packet p;
	unsigned n = 0;
	size_t size;

	if (++q->datagrams > DATAGRAMS_MAX)
		return NAMES_NOT;
	while (n < PACKETS_MAX && take_packet(&v, &p)) {
		if (p.type != PACKET_INITIAL)
			continue;
		n++;
		initial = true;
		if (!take_initial(lib, q, &p))
			return NAMES_NOT;
		size = names_hello_size(q->hello.data, q->hello.len);
		if (size == SIZE_MAX)
			return NAMES_NOT;
		if (size && size <= q->hello.len) {
			*msg = (struct names_view){q->hello.data, size};
			return NAMES_FOUND;
		}
	}
	return q->genuine || !initial ? NAMES_MORE : NAMES_NOT;
}

void names_quic_free(struct names_quic *q)
{
	forget_hello(q);
}
