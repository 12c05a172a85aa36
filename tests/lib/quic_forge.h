/* SPDX-License-Identifier: MIT */
/*
 * quic_forge: makes protected QUIC Initial packets, for tests and fuzz targets. Keys come from
 * libcrypto's own HKDF, so that nothing is shared with what is tested.
 */
#ifndef WEIR_TESTS_QUIC_FORGE_H
#define WEIR_TESTS_QUIC_FORGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#define FORGE_V1   0x00000001u
#define FORGE_V2   0x6b3343cfu
#define FORGE_ROOM 20000

/** struct forge - a packet to be: views are the caller's */
struct forge {
	uint32_t version;
	const uint8_t *cid; /* in the header */
	size_t cid_len;
	const uint8_t *key_cid; /* that the keys come from, of cid_len bytes; NULL: the same */
	uint64_t number;
	unsigned number_len;
	size_t token;	/* bytes of one */
	size_t padding; /* the payload is made up to this */
};

static inline void forge_hkdf(int mode, const uint8_t *key, size_t key_len, const uint8_t *salt,
			      size_t salt_len, const char *label, uint8_t *out, size_t n)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	uint8_t info[64] = {0, (uint8_t)n}, *k = malloc(key_len + 1), *s = malloc(salt_len + 1);
	int len = snprintf((char *)info + 3, sizeof(info) - 4, "tls13 %s", label);
	OSSL_PARAM params[6];

	info[2] = (uint8_t)len;
	memcpy(k, key, key_len);
	if (salt_len)
		memcpy(s, salt, salt_len);
	params[0] = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, k, key_len);
	params[3] = mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY
			    ? OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, s, salt_len)
			    : OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info,
								(size_t)len + 4);
	params[4] = OSSL_PARAM_construct_end();
	if (EVP_KDF_derive(ctx, out, n, params) != 1)
		abort();
	free(k);
	free(s);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}

static inline void forge_keys(uint32_t version, const uint8_t *cid, size_t len, uint8_t key[16],
			      uint8_t iv[12], uint8_t hp[16])
{
	static const char v1[] = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17"
				 "\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
	static const char v2[] = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93"
				 "\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";
	bool two = version == FORGE_V2;
	uint8_t initial[32], client[32];

	forge_hkdf(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, cid, len, (const uint8_t *)(two ? v2 : v1), 20,
		   "", initial, 32);
	forge_hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, initial, 32, NULL, 0, "client in", client, 32);
	forge_hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, client, 32, NULL, 0,
		   two ? "quicv2 key" : "quic key", key, 16);
	forge_hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, client, 32, NULL, 0,
		   two ? "quicv2 iv" : "quic iv", iv, 12);
	forge_hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, client, 32, NULL, 0,
		   two ? "quicv2 hp" : "quic hp", hp, 16);
}

static inline size_t forge_varint2(uint8_t *out, size_t v)
{
	out[0] = (uint8_t)(0x40 | v >> 8);
	out[1] = (uint8_t)v;
	return 2;
}

/** forge_crypto - a CRYPTO frame; its length */
static inline size_t forge_crypto(uint8_t *out, size_t offset, const uint8_t *data, size_t len)
{
	size_t n = 1;

	out[0] = 6;
	n += forge_varint2(out + n, offset);
	n += forge_varint2(out + n, len);
	memcpy(out + n, data, len);
	return n + len;
}

static inline size_t forge_head(const struct forge *f, size_t payload, uint8_t *out)
{
	unsigned type = f->version == FORGE_V2 ? 1 : 0;
	size_t n = 0;

	out[n++] = (uint8_t)(0xc0 | type << 4 | (f->number_len - 1));
	for (int i = 3; i >= 0; i--)
		out[n++] = (uint8_t)(f->version >> (8 * i));
	out[n++] = (uint8_t)f->cid_len;
	memcpy(out + n, f->cid, f->cid_len);
	n += f->cid_len;
	out[n++] = 0; /* no source identifier */
	if (f->token < 64)
		out[n++] = (uint8_t)f->token;
	else
		n += forge_varint2(out + n, f->token);
	memset(out + n, 0x74, f->token);
	n += f->token;
	n += forge_varint2(out + n, f->number_len + payload + 16);
	for (unsigned i = f->number_len; i; i--)
		out[n++] = (uint8_t)(f->number >> (8 * (i - 1)));
	return n;
}

/** forge_initial - the packet with @frames inside, to @out; its length */
static inline size_t forge_initial(const struct forge *f, const uint8_t *frames, size_t len,
				   uint8_t *out)
{
	static uint8_t plain[FORGE_ROOM];
	size_t payload = len > f->padding ? len : f->padding, head, i;
	uint8_t key[16], iv[12], hp[16], mask[16];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	memset(plain, 0, payload);
	memcpy(plain, frames, len);
	forge_keys(f->version, f->key_cid ? f->key_cid : f->cid, f->cid_len, key, iv, hp);
	head = forge_head(f, payload, out);
	for (i = 0; i < 8; i++)
		iv[11 - i] ^= (uint8_t)(f->number >> (8 * i));
	EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, iv);
	EVP_EncryptUpdate(ctx, NULL, &n, out, (int)head);
	EVP_EncryptUpdate(ctx, out + head, &n, plain, (int)payload);
	EVP_EncryptFinal_ex(ctx, out + head + n, &n);
	EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + head + payload);
	EVP_CIPHER_CTX_reset(ctx);
	EVP_EncryptInit_ex(ctx, EVP_aes_128_ecb(), NULL, hp, NULL);
	EVP_EncryptUpdate(ctx, mask, &n, out + head - f->number_len + 4, 16);
	EVP_CIPHER_CTX_free(ctx);
	out[0] ^= mask[0] & 0x0f;
	for (i = 0; i < f->number_len; i++)
		out[head - f->number_len + i] ^= mask[1 + i];
	return head + payload + 16;
}

#endif
