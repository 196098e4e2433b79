/*
 * The floor: the same work with no agent. Measurements hold agents against this program.
 *
 * usage: floor unix:PATH | floor vsock:PORT
 *
 * A connection is one piece of work, asked for by its first bytes:
 *   E…                  the same bytes back: what a ping cannot beat
 *   S COUNT\n           spawns `/bin/sh -c true` and waits for it, COUNT times; the nanoseconds of each, a line each
 *   T COUNT\n           the same of `true` without a shell
 *   A COUNT\n           COUNT threads that each spawn `/bin/sh -c true` and wait for it; the nanoseconds of the whole
 *   O COUNT\n           the output of `dd`, COUNT times 64 KiB, or of `cat /dev/zero` without end where that is 0: piped through
 *                       `cat` into a Unix socket, and copied by read and write into a vsock one, where cat's own writes
 *                       may be longer than some devices pass
 *   P BYTES PATH\n…     what follows goes to a new file by read and write, which is then renamed to PATH; one byte back
 *   G PATH\n            the file by read and write
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { CHUNK_BYTES = 64 * 1024, VSOCK_WRITE_BYTES = 28 * 1024, SPAWNED_AT_ONCE_MAX = 1024 };

static char buffer[CHUNK_BYTES];
static size_t write_bytes = CHUNK_BYTES;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* 0 where the other end is gone. */
static int write_all(int to, const char *bytes, size_t length) {
    while (length > 0) {
        size_t part = length < write_bytes ? length : write_bytes;
        ssize_t written = send(to, bytes, part, MSG_NOSIGNAL);
        if (written < 0) {
            if (errno == EPIPE || errno == ECONNRESET) return 0;
            fail("cannot write");
        }
        bytes += written;
        length -= (size_t)written;
    }
    return 1;
}

static void copy_to_end(int from, int to) {
    ssize_t got;
    while ((got = read(from, buffer, write_bytes)) > 0)
        if (!write_all(to, buffer, (size_t)got)) return;
    if (got < 0) fail("cannot read");
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static pid_t spawn(char *const words[], posix_spawn_file_actions_t *actions) {
    pid_t pid;
    int error = posix_spawnp(&pid, words[0], actions, NULL, words, environ);
    if (error != 0) {
        errno = error;
        fail(words[0]);
    }
    return pid;
}

static void finish(pid_t pid) {
    while (waitpid(pid, NULL, 0) < 0)
        if (errno != EINTR) fail("cannot wait");
}

static char *const SHELL_TRUE[] = {"/bin/sh", "-c", "true", NULL};
static char *const BARE_TRUE[] = {"true", NULL};

static void spawn_in_turn(int peer, char *const words[], int count) {
    for (; count > 0; count--) {
        char line[32];
        long long began = now();
        finish(spawn(words, NULL));
        write_all(peer, line, (size_t)sprintf(line, "%lld\n", now() - began));
    }
}

static void *spawn_one(void *all_are_there) {
    pthread_barrier_wait(all_are_there);
    finish(spawn(SHELL_TRUE, NULL));
    return NULL;
}

/* A thread each, since a spawn waits until its program runs. */
static void spawn_at_once(int peer, int count) {
    pthread_t threads[SPAWNED_AT_ONCE_MAX];
    pthread_barrier_t all_are_there;
    char line[32];
    if (count > SPAWNED_AT_ONCE_MAX) count = SPAWNED_AT_ONCE_MAX;
    pthread_barrier_init(&all_are_there, NULL, (unsigned)count + 1);
    for (int i = 0; i < count; i++)
        if ((errno = pthread_create(&threads[i], NULL, spawn_one, &all_are_there)) != 0) fail("cannot start a thread");
    long long began = now();
    pthread_barrier_wait(&all_are_there);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    write_all(peer, line, (size_t)sprintf(line, "%lld\n", now() - began));
    pthread_barrier_destroy(&all_are_there);
}

/* A process of its own, since several outputs flow at a time. */
static void relay_output(int peer, long long count) {
    char command[96] = "exec cat /dev/zero";
    int ends[2];
    posix_spawn_file_actions_t source, relay;
    if (fork() != 0) return;
    if (count > 0) snprintf(command, sizeof command, "exec dd if=/dev/zero bs=64k count=%lld 2>/dev/null", count);
    if (pipe2(ends, O_CLOEXEC) != 0) fail("cannot make a pipe");
    posix_spawn_file_actions_init(&source);
    posix_spawn_file_actions_adddup2(&source, ends[1], 1);
    spawn((char *const[]){"/bin/sh", "-c", command, NULL}, &source);
    close(ends[1]);
    if (write_bytes == CHUNK_BYTES) {
        posix_spawn_file_actions_init(&relay);
        posix_spawn_file_actions_adddup2(&relay, ends[0], 0);
        posix_spawn_file_actions_adddup2(&relay, peer, 1);
        /* Whoever asked may go before the end, which cat would tell. */
        posix_spawn_file_actions_addopen(&relay, 2, "/dev/null", O_WRONLY, 0);
        spawn((char *const[]){"cat", NULL}, &relay);
        close(ends[0]);
        close(peer);
    } else {
        copy_to_end(ends[0], peer);
        close(ends[0]);
    }
    while (wait(NULL) > 0) {}
    _exit(0);
}

static void store(int peer, const char *path, long long remaining, const char *first, size_t length) {
    char staged[4096];
    snprintf(staged, sizeof staged, "%s.new", path);
    int file = open(staged, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) fail(staged);
    if ((long long)length > remaining) length = (size_t)remaining;
    if (write(file, first, length) != (ssize_t)length) fail(staged);
    remaining -= (long long)length;
    while (remaining > 0) {
        ssize_t got = read(peer, buffer, sizeof buffer);
        if (got <= 0) fail("the upload is short");
        for (ssize_t at = 0; at < got;) {
            ssize_t written = write(file, buffer + at, (size_t)(got - at));
            if (written < 0) fail(staged);
            at += written;
        }
        remaining -= got;
    }
    if (fchmod(file, 0644) != 0 || rename(staged, path) != 0) fail(path);
    close(file);
    write_all(peer, "k", 1);
}

static void fetch(int peer, const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path);
    copy_to_end(file, peer);
    close(file);
}

static void serve(int peer) {
    char line[4096];
    ssize_t got = read(peer, line, sizeof line - 1);
    if (got <= 0) return;
    if (line[0] == 'E') {
        write_all(peer, line, (size_t)got);
        return;
    }
    line[got] = 0;
    char *end = memchr(line, '\n', (size_t)got), *rest;
    if (got < 3 || end == NULL) return;
    *end++ = 0;
    long long number = strtoll(line + 2, &rest, 10);
    switch (line[0]) {
    case 'S': spawn_in_turn(peer, SHELL_TRUE, (int)number); break;
    case 'T': spawn_in_turn(peer, BARE_TRUE, (int)number); break;
    case 'A': spawn_at_once(peer, (int)number); break;
    case 'O': relay_output(peer, number); break;
    case 'P': store(peer, rest + 1, number, end, (size_t)(line + got - end)); break;
    case 'G': fetch(peer, line + 2); break;
    }
}

static int listening_on(const char *where) {
    int listener;
    if (strncmp(where, "vsock:", 6) == 0) {
        struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = (unsigned)atoi(where + 6)};
        write_bytes = VSOCK_WRITE_BYTES;
        listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail(where);
    } else {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strncmp(where, "unix:", 5) != 0 || strlen(where + 5) >= sizeof address.sun_path) {
            errno = EINVAL;
            fail(where);
        }
        strcpy(address.sun_path, where + 5);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail(where);
    }
    if (listen(listener, 128) != 0) fail(where);
    return listener;
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: floor unix:PATH | floor vsock:PORT\n");
        return 2;
    }
    int listener = listening_on(words[1]);
    for (;;) {
        int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0) fail("cannot accept");
        serve(peer);
        close(peer);
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
    }
}
