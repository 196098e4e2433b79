/* What smolctl forward is measured against: the plainest relay there is, and the two ends of a stream.
 *
 *   relay relay LISTEN CONNECT   two processes a connection, each of which reads and writes in one direction; one at a time
 *   relay sink LISTEN            reads what comes, and ends when that does
 *   relay give LISTEN BYTES      writes so many bytes, and ends
 *   relay talk CONNECT BYTES     writes so many bytes and their end, and reads to the other side's
 *
 * LISTEN and CONNECT are a path, or a port of 127.0.0.1. Who listens on port 0 prints which it got.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char bytes[65536];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int opened(const char *at, int listens) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *address = (struct sockaddr *)&port;
    socklen_t length = sizeof port;
    if (at[0] == '/') {
        strncpy(path.sun_path, at, sizeof path.sun_path - 1);
        address = (struct sockaddr *)&path;
        length = sizeof path;
    } else {
        port.sin_port = htons(atoi(at));
    }
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    if (!listens) {
        if (connect(fd, address, length)) fail(at);
        return fd;
    }
    if (bind(fd, address, length) || listen(fd, 128)) fail(at);
    if (at[0] != '/') {
        getsockname(fd, address, &length);
        printf("%d\n", ntohs(port.sin_port));
        fflush(stdout);
    }
    return fd;
}

static void put(int fd, size_t count) {
    for (size_t at = 0; at < count;) {
        ssize_t wrote = write(fd, bytes + at, count - at);
        if (wrote < 0) fail("write");
        at += wrote;
    }
}

static void give(int fd, long long count) {
    for (; count > 0; count -= sizeof bytes) put(fd, count < (long long)sizeof bytes ? count : sizeof bytes);
}

static void pump(int from, int to) {
    ssize_t got;
    while ((got = read(from, bytes, sizeof bytes)) > 0) put(to, got);
    shutdown(to, SHUT_WR);
}

static void take(int fd) {
    while (read(fd, bytes, sizeof bytes) > 0) {}
}

static void serve(int fd, char **words) {
    if (!strcmp(words[1], "sink")) {
        take(fd);
    } else if (!strcmp(words[1], "give")) {
        give(fd, atoll(words[3]));
    } else {
        int to = opened(words[3], 0);
        pid_t back = fork();
        if (back) pump(fd, to);
        else pump(to, fd);
        if (back) waitpid(back, NULL, 0);
    }
}

int main(int count, char **words) {
    if (count < 3) return 2;
    if (!strcmp(words[1], "talk")) {
        int fd = opened(words[2], 0);
        give(fd, atoll(words[3]));
        shutdown(fd, SHUT_WR);
        take(fd);
        return 0;
    }
    int listener = opened(words[2], 1);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) fail("accept");
        pid_t child = fork();
        if (!child) {
            close(listener);
            serve(fd, words);
            return 0;
        }
        close(fd);
        /* Its processor time is ours from here on. */
        waitpid(child, NULL, 0);
    }
}
