#include "findings.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "device.h"

namespace emu {
namespace {

constexpr size_t kMostFindings = 20;  // of a kernel

struct Finding {
    std::string kernel, kind, text;
    int line;
    uint64_t times;
};
using Key = std::pair<std::string, std::pair<std::string, uint64_t>>;

// Checked launches run one at a time, and are asked for what they found between them.
std::map<Key, Finding> &findings() {
    static auto *all = new std::map<Key, Finding>;
    return *all;
}
std::map<std::string, size_t> &told() {
    static auto *all = new std::map<std::string, size_t>;
    return *all;
}
std::map<std::string, Counts> &counts() {
    static auto *all = new std::map<std::string, Counts>;
    return *all;
}

// What was written, of at most `size` bytes; returns how long it is.
size_t hand_over(const std::string &text, char *to, size_t size) {
    if (to && size) {
        size_t copied = std::min(size - 1, text.size());
        std::memcpy(to, text.data(), copied);
        to[copied] = 0;
    }
    return text.size();
}

}  // namespace

// Asks addr2line, which comes with the compiler; 0 where it does not know.
int Place::line() const {
    int file;
    size_t offset;
    if (!code_) return line_;
    if (!place_in_module(code_, &file, &offset)) return 0;
    char command[160];
    snprintf(command, sizeof(command), "addr2line -e /proc/%d/fd/%d %#zx 2>/dev/null", getpid(), file, offset - 1);
    int line = 0;
    if (FILE *answer = popen(command, "r")) {
        char text[512];
        while (fgets(text, sizeof(text), answer))
            if (const char *colon = std::strrchr(text, ':')) line = std::atoi(colon + 1);
        pclose(answer);
    }
    return line;
}

void tell(const char *kernel, const char *kind, Place place, const std::string &text, uint64_t times) {
    Key key{kernel, {kind, place.key()}};
    auto found = findings().find(key);
    if (found != findings().end())
        found->second.times += times;
    else if (told()[kernel]++ < kMostFindings)
        findings()[key] = {kernel, kind, text, place.line(), times};
}

Counts &counts_of(const char *kernel) { return counts()[kernel]; }

}  // namespace emu

using namespace emu;

extern "C" {

// One finding a line: kernel, kind, line, times, text, with tabs between them. Forgets them when `to` is given.
size_t emu_findings(char *to, size_t size) {
    std::string text;
    for (auto &[key, each] : findings())
        text += each.kernel + '\t' + each.kind + '\t' + std::to_string(each.line) + '\t' +
                std::to_string(each.times) + '\t' + each.text + '\n';
    if (to) {
        findings().clear();
        told().clear();
    }
    return hand_over(text, to, size);
}

// One kernel a line: its name and the numbers of Counts in their order. Forgets them when `to` is given.
size_t emu_counts(char *to, size_t size) {
    std::string text;
    for (auto &[kernel, each] : counts()) {
        text += kernel;
        for (uint64_t number : {each.launches, each.threads, each.load_bytes, each.store_bytes, each.shared_load_bytes,
                                each.shared_store_bytes, each.sampled_load_bytes, each.sampled_load_sectors,
                                each.sampled_store_bytes, each.sampled_store_sectors})
            text += '\t' + std::to_string(number);
        text += '\n';
    }
    if (to) counts().clear();
    return hand_over(text, to, size);
}

}  // extern "C"
