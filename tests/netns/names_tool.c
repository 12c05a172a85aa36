/* SPDX-License-Identifier: MIT */
/*
 * names_tool: what clients say first, said in ways that no ordinary client offers.
 *
 *   names_tool tls ADDR PORT NAME SIZE [WAIT_MS]   a ClientHello of about SIZE bytes, one byte a
 *                                      segment; prints how many bytes the server (tls-server) got
 *   names_tool tls-server ADDR PORT    answers each connection with the number of bytes of its
 * hello names_tool quic ADDR PORT NAME VERSION PARTS   a ClientHello in PARTS Initial packets, the
 * last one first; prints the number of answers (quic-server) names_tool quic-server ADDR PORT
 * answers each datagram with a byte
 *
 * LINK: src/base/util.o src/base/log.o src/base/clock.o
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "../lib/quic_forge.h"
#include "../unit/names_hello.h"

#define PATIENCE_MS 3000

static uint8_t hello[HELLO_ROOM], wire[2 * HELLO_ROOM];

static void die(const char *what)
{
	fprintf(stderr, "names_tool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static socklen_t address(const char *addr, const char *port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, addr, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, addr, &in6->sin6_addr) != 1)
		die(addr);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)atoi(port));
	return sizeof(*in6);
}

static int open_socket(int type, char **argv, bool server)
{
	struct sockaddr_storage a;
	socklen_t len = address(argv[0], argv[1], &a);
	int fd = socket(a.ss_family, type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (server ? bind(fd, (struct sockaddr *)&a, len) : connect(fd, (struct sockaddr *)&a, len))
		die(server ? "bind" : "connect");
	return fd;
}

static size_t make_hello(const char *name, size_t size)
{
	struct hello_spec spec = hello_foxio;
	size_t len;

	spec.sni = name;
	len = hello_make(&spec, hello);
	if (size > len)
		spec.key_share += size - len;
	return hello_make(&spec, hello);
}

static void tls(char **argv)
{
	int fd = open_socket(SOCK_STREAM, argv, false), one = 1;
	size_t len = hello_records(hello, make_hello(argv[2], (size_t)atoi(argv[3])), 1000, wire);
	char answer[32] = "";

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (size_t i = 0; i < len; i++) {
		if (argv[4] && i == len / 2)
			usleep((useconds_t)atoi(argv[4]) * 1000);
		if (send(fd, wire + i, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, answer, sizeof(answer) - 1) < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%s of %zu\n", answer, len);
}

_Noreturn static void tls_server(char **argv)
{
	int fd = open_socket(SOCK_STREAM, argv, true);
	char answer[32];
	size_t got;
	ssize_t n;

	listen(fd, 8);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			continue;
		for (got = 0; (n = read(c, wire, sizeof(wire))) > 0;)
			got += (size_t)n;
		snprintf(answer, sizeof(answer), "%zu", got);
		printf("got %s\n", answer);
		fflush(stdout);
		send(c, answer, strlen(answer), MSG_NOSIGNAL); /* it may be gone */
		close(c);
	}
}

static void quic(char **argv)
{
	static uint8_t frames[FORGE_ROOM], packet[FORGE_ROOM];
	struct forge f = {(uint32_t)strtoul(argv[3], NULL, 16),
			  (const uint8_t *)"weirtest",
			  8,
			  NULL,
			  0,
			  1,
			  0,
			  1162};
	unsigned parts = (unsigned)atoi(argv[4]), answers = 0, i;
	size_t len = make_hello(argv[2], parts > 1 ? 1700 : 0), piece = len / parts + 1;
	int fd = open_socket(SOCK_DGRAM, argv, false);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (i = parts; i--; f.number++) {
		size_t from = i * piece, n = MIN(piece, len - from);

		n = forge_crypto(frames, from, hello + from, n);
		if (send(fd, packet, forge_initial(&f, frames, n, packet), 0) < 0)
			break;
	}
	while (answers < parts && poll(&p, 1, PATIENCE_MS) > 0) {
		if (recv(fd, packet, sizeof(packet), 0) < 0) {
			printf("%s ", strerrorname_np(errno));
			break;
		}
		answers++;
	}
	printf("%u answers\n", answers);
}

_Noreturn static void quic_server(char **argv)
{
	int fd = open_socket(SOCK_DGRAM, argv, true);
	struct sockaddr_storage from;

	printf("ready\n");
	fflush(stdout);
	for (;;) {
		socklen_t len = sizeof(from);

		if (recvfrom(fd, wire, sizeof(wire), 0, (struct sockaddr *)&from, &len) >= 0)
			sendto(fd, "!", 1, 0, (struct sockaddr *)&from, len);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		void (*run)(char **argv);
	} commands[] = {
		{"tls", 4, tls},
		{"tls-server", 2, tls_server},
		{"quic", 5, quic},
		{"quic-server", 2, quic_server},
	};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (argc - 2 >= commands[i].args && !strcmp(argv[1], commands[i].name)) {
			commands[i].run(argv + 2);
			return 0;
		}
	fprintf(stderr, "names_tool: see the head of its source\n");
	return 2;
}
