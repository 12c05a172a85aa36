/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define CLIENTS_MAX (CONTROL_FDS_MAX - 1)
#define REQUEST_MAX 4096
#define STREAMS_MAX (CLIENTS_MAX / 2)
#define STREAM_MAX  (1 << 20)		  /* bytes that wait for one that reads too slowly */
#define ANSWER_MS   10000		  /* for an instance to answer: it may be stopped */
#define BUSY_MS	    50			  /* pause of one that asks while others fill the queue, */
#define BUSY_TRIES  20			  /* and how often, before the instance is called stopped */
#define RETRY_NS    (200 * NSEC_PER_MSEC) /* until accept() is tried again without descriptors */

enum client_state { READING, WAITING, WRITING, STREAMING };

/**
 * struct client - one asker; first its line is read, then its answer written
 * @lost: lines of a stream that had no room
 */
struct client {
	struct control_peer who;
	int fd; /* -1: free */
	enum client_state state;
	char request[REQUEST_MAX];
	size_t have;
	char *answer; /* owned */
	size_t size, sent;
	uint64_t lost;
};

struct control {
	int fd;
	uint64_t retry_at; /* accept() failed; 0 = it did not */
	bool shared;
	gid_t group; /* of a shared one */
	uint32_t last_client;
	char path[CONTROL_PATH_MAX];
	struct client clients[CLIENTS_MAX];
};

/* --- paths -------------------------------------------------------------------------- */

static int control_dir(uid_t uid, char *dir, size_t size)
{
	const char *xdg = uid == getuid() ? getenv("XDG_RUNTIME_DIR") : NULL;
	struct stat st;
	int n;

	/* su and cron leave a variable behind that names another user's, or nothing */
	if (xdg && xdg[0] == '/' && !stat(xdg, &st) && st.st_uid == uid)
		n = snprintf(dir, size, "%s/weir", xdg);
	else
		n = snprintf(dir, size, "/tmp/weir-%u", (unsigned)uid);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int control_path(pid_t pid, uid_t uid, char path[CONTROL_PATH_MAX])
{
	char dir[CONTROL_PATH_MAX - 20];
	int rc = control_dir(uid, dir, sizeof(dir));

	if (!rc)
		snprintf(path, CONTROL_PATH_MAX, "%s/%d.sock", dir, (int)pid);
	return rc;
}

/** check_dir - @dir must be ours and closed to others: in /tmp anybody may have made it */
static int check_dir(const char *dir)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 077))
		return -EPERM;
	return 0;
}

static int own_dir(const char *dir)
{
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : check_dir(dir);
}

/** pid_of - the instance that a file name stands for, 0 = none */
static pid_t pid_of(const char *name)
{
	char *end;
	long pid = strtol(name, &end, 10);

	return end != name && !strcmp(end, ".sock") && pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/** connect_to - never waits: -EAGAIN is an instance that is stopped, with a full queue */
static int connect_to(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return -errno;
	str_copy(sa.sun_path, sizeof(sa.sun_path), path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/** each_instance - call @fn for each socket file in @uid's directory */
static void each_instance(uid_t uid, void (*fn)(void *ctx, pid_t pid, const char *path), void *ctx)
{
	char dir[CONTROL_PATH_MAX - 20], path[CONTROL_PATH_MAX];
	struct dirent *e;
	DIR *d;

	if (control_dir(uid, dir, sizeof(dir)) || check_dir(dir))
		return;
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		pid_t pid = pid_of(e->d_name);

		if (pid && !control_path(pid, uid, path))
			fn(ctx, pid, path);
	}
	if (d)
		closedir(d);
}

/** sweep_one - nobody listens there any more: remove it; one that starts does not listen yet */
static void sweep_one(void *ctx, pid_t pid, const char *path)
{
	int fd = connect_to(path);

	(void)ctx;
	if (fd >= 0)
		close(fd);
	else if (fd == -ECONNREFUSED && kill(pid, 0) < 0 && errno == ESRCH)
		unlink(path);
}

/* --- serving -------------------------------------------------------------------------- */

static int listen_at(const char *path, mode_t mode)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;
	mode_t old;

	if (fd < 0)
		return -errno;
	str_copy(sa.sun_path, sizeof(sa.sun_path), path);
	unlink(path); /* our own pid's: left by a namesake */
	old = umask(0777 & ~mode);
	rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(old);
	if (!rc && listen(fd, CLIENTS_MAX) == 0)
		return fd;
	rc = rc ? rc : -errno;
	close(fd);
	return rc;
}

/** listen_in - make the directory and listen; its last user may remove it in between */
static int listen_in(const char *dir, const char *path)
{
	int rc = -ENOENT;

	for (int tries = 0; tries < 3 && rc == -ENOENT; tries++) {
		rc = own_dir(dir);
		if (!rc)
			rc = listen_at(path, 0600);
	}
	return rc;
}

static struct control *new_control(void)
{
	struct control *c = calloc(1, sizeof(*c));

	for (int i = 0; c && i < CLIENTS_MAX; i++)
		c->clients[i].fd = -1;
	return c;
}

int control_open_shared(const char *path, gid_t group, struct control **out)
{
	struct control *c;
	int rc;

	if (strlen(path) >= sizeof(c->path))
		return -ENAMETOOLONG;
	c = new_control();
	if (!c)
		return -ENOMEM;
	c->shared = true;
	c->group = group;
	str_copy(c->path, sizeof(c->path), path);
	rc = c->fd = listen_at(path, 0666);
	if (rc < 0) {
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int control_open(struct control **out)
{
	char dir[CONTROL_PATH_MAX - 20];
	struct control *c = new_control();
	int rc;

	if (!c)
		return -ENOMEM;
	rc = control_dir(getuid(), dir, sizeof(dir));
	if (!rc)
		rc = control_path(getpid(), getuid(), c->path);
	if (!rc) {
		each_instance(getuid(), sweep_one, NULL);
		rc = c->fd = listen_in(dir, c->path);
	}
	if (rc < 0) {
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

static void drop_client(struct client *cl)
{
	close_fd(&cl->fd);
	free(cl->answer);
	*cl = (struct client){.fd = -1};
}

void control_remove(const char *path)
{
	char dir[CONTROL_PATH_MAX];
	char *slash;

	unlink(path);
	str_copy(dir, sizeof(dir), path);
	slash = strrchr(dir, '/');
	if (!slash)
		return;
	*slash = '\0';
	rmdir(dir); /* the last one turns off the light */
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++)
		drop_client(&c->clients[i]);
	close_fd(&c->fd);
	if (c->shared)
		unlink(c->path); /* its directory is the runtime directory's owner's */
	else
		control_remove(c->path);
	free(c);
}

/** client_events - whoever waits is looked at as well: it may go away */
static short client_events(const struct client *cl)
{
	if (cl->state == READING)
		return POLLIN;
	return cl->size > cl->sent ? POLLOUT : POLLRDHUP;
}

int control_pollfds(const struct control *c, struct pollfd *fds)
{
	int n = 0;

	if (!c)
		return 0;
	if (clock_mono_ns() >= c->retry_at)
		fds[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
	for (int i = 0; i < CLIENTS_MAX; i++) {
		const struct client *cl = &c->clients[i];

		if (cl->fd >= 0)
			fds[n++] = (struct pollfd){
				.fd = cl->fd,
				.events = client_events(cl),
			};
	}
	return n;
}

uint64_t control_retry_at(const struct control *c)
{
	return c ? c->retry_at : 0;
}

/** in_group - is the peer's primary or a supplementary group @group? */
static bool in_group(int fd, const struct ucred *cred, gid_t group)
{
	gid_t list[256];
	socklen_t len = sizeof(list);

	if (group == (gid_t)-1)
		return false;
	if (cred->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0)
		return false; /* in more groups than fit: those of a person are few */
	for (size_t i = 0; i < len / sizeof(*list); i++) {
		if (list[i] == group)
			return true;
	}
	return false;
}

static bool may_ask(const struct control *c, int fd, struct control_peer *who)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	who->uid = cred.uid;
	who->full = cred.uid == 0 || (!c->shared && cred.uid == getuid()) ||
		    (c->shared && in_group(fd, &cred, c->group));
	return who->full || c->shared;
}

/** free_client - a place for one more; who has not asked yet makes room. NULL: all are answered */
static struct client *free_client(struct control *c)
{
	struct client *silent = NULL;

	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (c->clients[i].fd < 0)
			return &c->clients[i];
		if (!silent && c->clients[i].state == READING)
			silent = &c->clients[i];
	}
	if (silent)
		drop_client(silent);
	return silent;
}

static void accept_client(struct control *c)
{
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct control_peer who;
	struct client *cl;

	/* A client that has given up is gone from the queue; a shortage stays, and so does the
	 * client. */
	c->retry_at = fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED
			      ? clock_mono_ns() + RETRY_NS
			      : 0;
	if (fd < 0)
		return;
	cl = may_ask(c, fd, &who) ? free_client(c) : NULL;
	if (cl) {
		who.client = ++c->last_client;
		cl->fd = fd;
		cl->who = who;
	} else {
		close(fd);
	}
}

static void write_answer(struct client *cl)
{
	ssize_t n = send(cl->fd, cl->answer + cl->sent, cl->size - cl->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		cl->sent += (size_t)n;
	if (n <= 0 || (cl->sent == cl->size && cl->state == WRITING))
		drop_client(cl);
}

/** stream_room - forget what was sent, and let @len bytes more find a place; false: they don't */
static bool stream_room(struct client *cl, size_t len)
{
	char *more;

	if (cl->sent) {
		cl->size -= cl->sent;
		memmove(cl->answer, cl->answer + cl->sent, cl->size);
		cl->sent = 0;
	}
	if (cl->size + len > STREAM_MAX)
		return false;
	more = realloc(cl->answer, cl->size + len);
	if (!more)
		return false;
	cl->answer = more;
	return true;
}

static void stream_add(struct client *cl, const char *line)
{
	const size_t len = strlen(line);

	memcpy(cl->answer + cl->size, line, len);
	cl->answer[cl->size + len] = '\n';
	cl->size += len + 1;
}

static void stream(struct client *cl, const char *line)
{
	char lost[64] = "";

	if (cl->lost)
		snprintf(lost, sizeof(lost), "{\"event_type\":\"lost\",\"lines\":%llu}",
			 (unsigned long long)cl->lost);
	if (!stream_room(cl, strlen(lost) + strlen(line) + 2)) {
		cl->lost++;
		return;
	}
	if (cl->lost)
		stream_add(cl, lost);
	cl->lost = 0;
	stream_add(cl, line);
	write_answer(cl);
}

bool control_streams(const struct control *c)
{
	for (int i = 0; c && i < CLIENTS_MAX; i++)
		if (c->clients[i].fd >= 0 && c->clients[i].state == STREAMING)
			return true;
	return false;
}

void control_publish(struct control *c, uid_t uid, const char *line)
{
	for (int i = 0; c && i < CLIENTS_MAX; i++) {
		struct client *cl = &c->clients[i];

		if (cl->fd >= 0 && cl->state == STREAMING && (cl->who.full || cl->who.uid == uid))
			stream(cl, line);
	}
}

void control_finish(struct control *c, uint32_t client, const char *text)
{
	for (int i = 0; c && i < CLIENTS_MAX; i++) {
		struct client *cl = &c->clients[i];

		if (cl->fd < 0 || cl->state != WAITING || cl->who.client != client)
			continue;
		cl->answer = strdup(text);
		cl->size = strlen(text);
		cl->state = WRITING;
		if (cl->answer && cl->size)
			write_answer(cl);
		else
			drop_client(cl);
	}
}

/** start_stream - half of the places at most: others must be able to ask */
static void start_stream(const struct control *c, struct client *cl)
{
	int n = 0;

	free(cl->answer);
	cl->answer = NULL;
	cl->size = 0;
	for (int i = 0; i < CLIENTS_MAX; i++)
		n += c->clients[i].fd >= 0 && c->clients[i].state == STREAMING;
	if (n < STREAMS_MAX)
		cl->state = STREAMING;
	else
		drop_client(cl);
}

static void read_request(const struct control *c, struct client *cl, control_answer_fn *answer,
			 void *ctx)
{
	enum control_said said = CONTROL_ANSWERED;
	ssize_t n = recv(cl->fd, cl->request + cl->have, REQUEST_MAX - 1 - cl->have, MSG_DONTWAIT);
	char *end;
	FILE *out;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop_client(cl);
		return;
	}
	cl->have += (size_t)n;
	end = memchr(cl->request, '\n', cl->have);
	if (!end && cl->have == REQUEST_MAX - 1)
		drop_client(cl);
	if (!end)
		return;
	*end = '\0';
	out = open_memstream(&cl->answer, &cl->size);
	if (out) {
		said = answer(ctx, &cl->who, cl->request, out);
		fclose(out);
	}
	if (out && said == CONTROL_STREAM) {
		start_stream(c, cl);
	} else if (out && said == CONTROL_LATER) {
		free(cl->answer);
		cl->answer = NULL;
		cl->size = 0;
		cl->state = WAITING;
	} else if (out && cl->answer && cl->size) {
		cl->state = WRITING;
		write_answer(cl);
	} else {
		drop_client(cl);
	}
}

static void client_ready(const struct control *c, struct client *cl, short revents,
			 control_answer_fn *answer, void *ctx)
{
	if (cl->state == READING)
		read_request(c, cl, answer, ctx);
	else if (revents & (POLLHUP | POLLERR | POLLRDHUP))
		drop_client(cl);
	else
		write_answer(cl);
}

void control_serve(struct control *c, const struct pollfd *fds, int n, control_answer_fn *answer,
		   void *ctx)
{
	for (int i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == c->fd) {
			accept_client(c);
			continue;
		}
		for (int k = 0; k < CLIENTS_MAX; k++) {
			struct client *cl = &c->clients[k];

			if (cl->fd != fds[i].fd)
				continue;
			client_ready(c, cl, fds[i].revents, answer, ctx);
			break;
		}
	}
}

/* --- asking ------------------------------------------------------------------------------ */

struct found {
	unsigned n;
	char path[CONTROL_PATH_MAX];
	char list[128];
};

static void find_one(void *ctx, pid_t pid, const char *path)
{
	struct found *f = ctx;
	int fd = connect_to(path);
	size_t len = strlen(f->list);

	if (fd < 0 && fd != -EAGAIN)
		return;
	close_fd(&fd);
	f->n++;
	str_copy(f->path, sizeof(f->path), path);
	snprintf(f->list + len, sizeof(f->list) - len, "%s%d", len ? ", " : "", (int)pid);
}

static void find_shared(struct found *f)
{
	const char *path = CONTROL_SHARED_DIR "/" CONTROL_SHARED;
	int fd = connect_to(path);

	if (fd < 0 && fd != -EAGAIN && fd != -EACCES)
		return;
	close_fd(&fd);
	f->n = 1;
	str_copy(f->path, sizeof(f->path), path);
}

/** uid_of - who runs @pid; (uid_t)-1 when it does not exist */
static uid_t uid_of(pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) < 0 ? (uid_t)-1 : st.st_uid;
}

/** find_instance - the path to connect to; 0, or -errno with a line in @err */
static int find_instance(pid_t instance, char path[CONTROL_PATH_MAX], char *err, size_t errsize)
{
	struct found f = {.n = 0};

	if (instance) {
		uid_t uid = uid_of(instance);

		if (uid != (uid_t)-1 && !control_path(instance, uid, path)) {
			/* Another user's is where that user's session has it, or in /tmp. */
			if (uid != getuid() && access(path, F_OK) < 0)
				snprintf(path, CONTROL_PATH_MAX, "/run/user/%u/weir/%d.sock",
					 (unsigned)uid, (int)instance);
			return 0;
		}
		snprintf(err, errsize, "--instance %d: no such process", (int)instance);
		return -ESRCH;
	}
	each_instance(getuid(), find_one, &f);
	if (!f.n) /* nobody's own: the host's, if it has one */
		find_shared(&f);
	if (f.n == 1) {
		str_copy(path, CONTROL_PATH_MAX, f.path);
		return 0;
	}
	if (f.n)
		snprintf(err, errsize, "several instances run (%s): choose one with --instance PID",
			 f.list);
	else
		snprintf(err, errsize, "no instance of weir runs as this user");
	return f.n ? -EMFILE : -ESRCH;
}

static int copy_answer(int fd, FILE *out, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char buf[8192];
	ssize_t n;

	do {
		if (poll(&p, 1, ms) == 0)
			return -EAGAIN;
		n = recv(fd, buf, sizeof(buf), 0);
		if (n > 0 && (fwrite(buf, 1, (size_t)n, out) != (size_t)n || fflush(out)))
			return -EIO;
	} while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
	if (n == 0 && fflush(out))
		return -errno;
	return n < 0 ? -errno : 0;
}

static int fail_ask(int rc, const char *path, char *err, size_t errsize)
{
	snprintf(err, errsize, "%s: %s", path,
		 rc == -EAGAIN ? "no answer; the instance may be stopped" : strerror(-rc));
	return rc;
}

/** connect_patiently - others may fill the queue for a moment */
static int connect_patiently(const char *path)
{
	int fd = connect_to(path);

	for (int tries = 0; fd == -EAGAIN && tries < BUSY_TRIES; tries++) {
		poll(NULL, 0, BUSY_MS);
		fd = connect_to(path);
	}
	return fd;
}

static int ask_at(const char *path, const char *request, FILE *out, int ms, char *err,
		  size_t errsize)
{
	char line[REQUEST_MAX];
	int rc, n, fd;

	n = snprintf(line, sizeof(line), "%s\n", request);
	if (n >= (int)sizeof(line)) {
		snprintf(err, errsize, "the request is longer than %d bytes", REQUEST_MAX - 2);
		return -EMSGSIZE;
	}
	fd = connect_patiently(path);
	if (fd < 0)
		return fail_ask(fd, path, err, errsize);
	rc = send(fd, line, (size_t)n, MSG_NOSIGNAL) < 0 ? -errno : copy_answer(fd, out, ms);
	close(fd);
	return rc ? fail_ask(rc, path, err, errsize) : 0;
}

int control_ask_at(const char *path, const char *request, FILE *out, char *err, size_t errsize)
{
	return ask_at(path, request, out, ANSWER_MS, err, errsize);
}

int control_ask_long(pid_t instance, const char *request, FILE *out, int ms, char *err,
		     size_t errsize)
{
	char path[CONTROL_PATH_MAX];
	int rc = find_instance(instance, path, err, errsize);

	return rc ? rc : ask_at(path, request, out, ms, err, errsize);
}

int control_ask(pid_t instance, const char *request, FILE *out, char *err, size_t errsize)
{
	return control_ask_long(instance, request, out, ANSWER_MS, err, errsize);
}
