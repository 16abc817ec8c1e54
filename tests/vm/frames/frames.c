/* Sends raw Ethernet frames: frames DEVICE <LINES. Each line is a frame in hex and is sent as it stands, whatever
 * its addresses say. Says on standard output how many were sent, on standard error which were not, and why. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static char line[1 << 16];
static unsigned char frame[1 << 15];

static int digit(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int main(int argc, char **argv) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int sent = 0, number = 0, s = socket(AF_PACKET, SOCK_RAW, 0); /* protocol 0: hears nothing */
    if (argc != 2 || s < 0 || (to.sll_ifindex = if_nametoindex(argv[1])) == 0) {
        fprintf(stderr, "frames DEVICE <LINES, as root: %s\n", strerror(errno));
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        size_t length = 0;
        for (char *at = line; digit(at[0]) >= 0 && digit(at[1]) >= 0; at += 2)
            frame[length++] = digit(at[0]) << 4 | digit(at[1]);
        number++;
        if (sendto(s, frame, length, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)length)
            sent++;
        else
            fprintf(stderr, "line %d (%zu bytes): %s\n", number, length, strerror(errno));
    }
    printf("%d\n", sent);
    return 0;
}
