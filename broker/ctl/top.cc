// gpu-brokerctl top: the guests of a running broker, looked at each second. On a terminal it takes the screen
// until q, and gives it back as it was; elsewhere, and with --once, it looks twice and prints. One thread.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "broker/ctl/subcommands.h"
#include "broker/ctl/top_view.h"
#include "broker/io/fd.h"
#include "broker/supervisor/control_client.h"

namespace nvshim::broker::ctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kIntervalMs = 1'000;
constexpr size_t kAnyLines = SIZE_MAX;

// What a terminal is told, as ECMA-48 and xterm have it.
constexpr char kEnterScreen[] = "\x1b[?1049h\x1b[?25l";  // another screen, without a cursor
constexpr char kLeaveScreen[] = "\x1b[?25h\x1b[?1049l";
constexpr char kHome[] = "\x1b[H";
constexpr char kNextLine[] = "\x1b[K\r\n";  // nothing behind what stands there
constexpr char kClearBelow[] = "\x1b[J";

void Write(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// The terminal, ours until the end of this object. Signals that would end or stop the program without it are
// read from signals().
class Screen {
 public:
  Screen() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH}) sigaddset(&signals, signal);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signals_ = Fd(signalfd(-1, &signals, SFD_CLOEXEC));
    termios mode;
    if (tcgetattr(STDIN_FILENO, &mode) == 0) {
      before_ = mode;
      mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    }
    Write(kEnterScreen);
  }
  ~Screen() {
    Write(kLeaveScreen);
    if (before_) tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
  }

  size_t lines() const {
    winsize size{};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : kAnyLines;
  }

  // Waits until it is time to look again. False: the user wants no more.
  bool Wait() const {
    pollfd entries[] = {{signals_.get(), POLLIN, 0}, {before_ ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(entries, 2, kIntervalMs) <= 0) return true;
    char key = 0;
    if (entries[1].revents != 0) return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q';
    signalfd_siginfo signal{};
    return read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal) &&
           (signal.ssi_signo == SIGWINCH || signal.ssi_signo == SIGTSTP);
  }

 private:
  Fd signals_;
  std::optional<termios> before_;  // where keys can be read
};

struct Look {
  absl::StatusOr<BrokerStatistics> statistics;
  Clock::time_point at;
};

Look LookAt(const std::string& socket) { return {AskStatistics(socket), Clock::now()}; }

std::vector<std::string> ViewOf(const Look& now, const std::optional<Look>& before, size_t lines_max) {
  if (!now.statistics.ok()) return {std::string(now.statistics.status().message())};
  const bool has_before = before && before->statistics.ok();
  const double seconds = has_before ? std::chrono::duration<double>(now.at - before->at).count() : 0;
  return TopView(*now.statistics, has_before ? &*before->statistics : nullptr, seconds, lines_max);
}

int Live(const std::string& socket) {
  const Screen screen;
  std::optional<Look> before;
  do {
    Look now = LookAt(socket);
    // The last line is for the user's keys, and does not end: the screen would move.
    auto lines = ViewOf(now, before, screen.lines() - 1);
    lines.push_back("q quits");
    Write(absl::StrCat(kHome, absl::StrJoin(lines, kNextLine), kClearBelow));
    before = std::move(now);
  } while (screen.Wait());
  return 0;
}

int Once(const std::string& socket) {
  const Look before = LookAt(socket);
  if (!before.statistics.ok()) return Fail(before.statistics.status());
  poll(nullptr, 0, kIntervalMs);
  const Look now = LookAt(socket);
  if (!now.statistics.ok()) return Fail(now.statistics.status());
  return Print(absl::StrJoin(ViewOf(now, before, kAnyLines), "\n") + "\n");
}

}  // namespace

void AddTop(CLI::App& app, Common* common) {
  CLI::App* const top = app.add_subcommand("top", "Watch the guests of a running broker");
  const auto once = std::make_shared<bool>(false);
  top->add_flag("--once", *once, "Print what a look shows, and exit; so it does without a terminal");
  top->callback([=] {
    common->asked.run = [=] {
      return *once || isatty(STDOUT_FILENO) == 0 ? Once(common->socket) : Live(common->socket);
    };
  });
}

}  // namespace nvshim::broker::ctl
