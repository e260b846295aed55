/* The least that a program without libraries does for such a call: the benchmark's lower bound.
 *
 * client PORT PATH print    send a small request and print the response as it comes
 * client PORT PATH decode   the same, but print only the text of the stream's deltas
 * client PORT PATH upload   send standard input as the prompt and print the response
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char input[1 << 16];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0)
            fail("write");
        bytes += written;
        length -= written;
    }
}

static int post(const char *port, const char *path, const char *body, size_t length)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(atoi(port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char head[256];
    int head_length = snprintf(head, sizeof head,
        "POST /%s HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer x\r\n"
        "content-type: application/json\r\ncontent-length: %zu\r\n\r\n",
        path, length);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    if (send(server, head, head_length, MSG_MORE) < 0)
        fail("send");
    write_all(server, body, length);
    return server;
}

static void print(int server)
{
    ssize_t length;
    while ((length = read(server, input, sizeof input)) > 0)
        write_all(STDOUT_FILENO, input, length);
}

/* Appends a JSON string, up to its closing quotation mark, to `out`. No surrogate pairs: the benchmark sends none. */
static char *unescape(const char *from, const char *end, char *out)
{
    for (; from < end && *from != '"'; from++) {
        if (*from != '\\') {
            *out++ = *from;
            continue;
        }
        unsigned code;
        switch (*++from) {
        case 'n': *out++ = '\n'; break;
        case 't': *out++ = '\t'; break;
        case 'r': *out++ = '\r'; break;
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'u':
            sscanf(from + 1, "%4x", &code);
            from += 4;
            if (code < 0x80) {
                *out++ = code;
            } else if (code < 0x800) {
                *out++ = 0xc0 | code >> 6;
                *out++ = 0x80 | (code & 0x3f);
            } else {
                *out++ = 0xe0 | code >> 12;
                *out++ = 0x80 | (code >> 6 & 0x3f);
                *out++ = 0x80 | (code & 0x3f);
            }
            break;
        default: *out++ = *from;
        }
    }
    return out;
}

static char *text_of(const char *line, size_t length, char *out)
{
    static const char key[] = "\"text\":\"";
    if (length < 6 || memcmp(line, "data: ", 6) != 0)
        return out;
    const char *text = memmem(line, length, key, sizeof key - 1);
    return text ? unescape(text + sizeof key - 1, line + length, out) : out;
}

static void decode(int server)
{
    static char output[2 * sizeof input], line[sizeof input];
    static const char head_end[] = "\r\n\r\n";
    size_t matched = 0, left = 0, size = 0, line_length = 0, length;
    while ((length = read(server, input, sizeof input)) > 0 && length <= sizeof input) {
        char *out = output;
        for (const char *at = input, *end = input + length; at < end;) {
            if (matched < 4) {
                matched = *at == head_end[matched] ? matched + 1 : *at == '\r';
                at++;
            } else if (left == 0) {
                /* The line with the next chunk's size, after the line break that ends the last chunk. */
                if (*at >= '0' && *at <= '9')
                    size = size * 16 + *at - '0';
                else if (*at >= 'a' && *at <= 'f')
                    size = size * 16 + *at - 'a' + 10;
                else if (*at == '\n')
                    left = size, size = 0;
                at++;
            } else {
                size_t here = left < (size_t)(end - at) ? left : (size_t)(end - at);
                const char *line_end = memchr(at, '\n', here);
                size_t part = line_end ? (size_t)(line_end + 1 - at) : here;
                if (line_length + part > sizeof line)
                    fail("a long line");
                memcpy(line + line_length, at, part);
                line_length += part;
                if (line_end) {
                    out = text_of(line, line_length, out);
                    line_length = 0;
                }
                at += part;
                left -= part;
            }
        }
        write_all(STDOUT_FILENO, output, out - output);
    }
}

static char *read_input(size_t *length)
{
    size_t capacity = sizeof input;
    char *bytes = malloc(capacity);
    ssize_t got;
    *length = 0;
    while ((got = read(STDIN_FILENO, bytes + *length, capacity - *length)) > 0) {
        *length += got;
        if (*length == capacity)
            bytes = realloc(bytes, capacity *= 2);
    }
    return bytes;
}

static char *escape(const char *from, size_t length, char *out)
{
    for (const char *end = from + length; from < end; from++) {
        unsigned char byte = *from;
        if (byte == '"' || byte == '\\')
            *out++ = '\\', *out++ = byte;
        else if (byte == '\n')
            *out++ = '\\', *out++ = 'n';
        else if (byte < 0x20)
            out += sprintf(out, "\\u%04x", byte);
        else
            *out++ = byte;
    }
    return out;
}

int main(int count, char **args)
{
    static const char before[] = "{\"model\":\"anthropic/claude-haiku-4.5\",\"messages\":[{\"role\":\"user\",\"content\":\"";
    static const char after[] = "\"}],\"max_tokens\":8192}";
    if (count != 4)
        return 2;
    const char *prompt = "hi";
    size_t length = 2;
    if (strcmp(args[3], "upload") == 0)
        prompt = read_input(&length);
    char *body = malloc(sizeof before + 6 * length + sizeof after);
    char *end = mempcpy(body, before, sizeof before - 1);
    end = escape(prompt, length, end);
    end = mempcpy(end, after, sizeof after - 1);
    int server = post(args[1], args[2], body, end - body);
    if (strcmp(args[3], "decode") == 0)
        decode(server);
    else
        print(server);
    return 0;
}
