/* Classify a picture from C: its pixels go by file descriptor, so they are never copied or written as text.
 *
 *     cc -o classify examples/classify.c && ./classify rkllmd/portable/demo/digits.onnx examples/seven.ppm
 *
 * RKLLM_UDS_PATH names another socket than /tmp/rkllm.sock. The picture is a PPM of the model's size, 48 x 48.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PIXELS (48 * 48 * 3)

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Return a memfd with the picture's pixels. The seal is what lets the daemon trust it: nobody can cut it short. */
static int pixels_of(const char *path) {
    static char pixels[PIXELS];
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, -(long)PIXELS, SEEK_END) || fread(pixels, 1, PIXELS, file) != PIXELS) fail(path);
    fclose(file);
    int fd = memfd_create("picture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, pixels, PIXELS) != PIXELS) fail("memfd_create");
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) fail("F_ADD_SEALS");
    return fd;
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address)) fail(path);
    return connection;
}

/* Send a line, and a descriptor with its first byte unless fd is -1. */
static void send_line(int connection, const char *line, int fd) {
    struct iovec data = {.iov_base = (void *)line, .iov_len = strlen(line)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    ssize_t sent = sendmsg(connection, &message, 0);
    if (sent < 0) fail("sendmsg");
    /* After a short send the rest goes without the descriptor. */
    for (size_t done = (size_t)sent; done < data.iov_len; done += (size_t)sent) {
        sent = send(connection, line + done, data.iov_len - done, 0);
        if (sent < 0) fail("send");
    }
}

int main(int count, char **arguments) {
    char model[PATH_MAX], line[PATH_MAX + 256];
    if (count != 3) {
        fprintf(stderr, "usage: %s MODEL PICTURE.ppm\n", arguments[0]);
        return 2;
    }
    if (!realpath(arguments[1], model)) fail(arguments[1]);
    const char *path = getenv("RKLLM_UDS_PATH");
    int connection = connect_to(path ? path : "/tmp/rkllm.sock");

    snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rknn.init\",\"params\":{\"model_path\":\"%s\"}}\n",
             model);
    send_line(connection, line, -1);
    /* "fds" says how many descriptors come with the message, {"fd": 0} means the first of them. */
    send_line(connection,
              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"rknn.infer\",\"fds\":1,"
              "\"params\":{\"inputs\":{\"fd\":0,\"dtype\":\"uint8\",\"shape\":[1,48,48,3]},\"top_k\":3}}\n",
              pixels_of(arguments[2]));
    shutdown(connection, SHUT_WR);

    FILE *answers = fdopen(connection, "r");
    for (int letter; answers && (letter = fgetc(answers)) != EOF;) putchar(letter);
    return 0;
}
