// A window is a reservation with files mapped over its pieces.
#include "broker/driver/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "broker/driver/sealed_memfd.h"
#include "proto/abi/host_piece.h"

namespace nvshim::broker {
namespace {

using abi::HostPiece;

constexpr uint64_t kPageBytes = 4096;

std::vector<HostPiece> Parse(std::span<const uint8_t> list) {
  std::vector<HostPiece> pieces(list.size() / sizeof(HostPiece));
  std::memcpy(pieces.data(), list.data(), pieces.size() * sizeof(HostPiece));
  return pieces;
}

bool IsPages(const HostPiece& piece) {
  return (piece.offset | piece.size_bytes) % kPageBytes == 0 && piece.size_bytes <= abi::kHostFileBytes &&
         piece.offset <= abi::kHostFileBytes - piece.size_bytes;
}

bool Overlap(const HostPiece& a, const HostPiece& b) {
  return a.inode == b.inode && a.offset < b.offset + b.size_bytes && b.offset < a.offset + a.size_bytes;
}

// Pages that come to `size_bytes`, each of them once. At most abi::kHostPiecesMax pieces of at most 2^47
// bytes: no sum overflows.
bool IsRange(const std::vector<HostPiece>& pieces, uint64_t size_bytes) {
  if (pieces.size() > abi::kHostPiecesMax) return false;
  uint64_t sum = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!IsPages(pieces[i])) return false;
    for (size_t j = 0; j < i; ++j)
      if (Overlap(pieces[i], pieces[j])) return false;
    sum += pieces[i].size_bytes;
  }
  return sum == size_bytes && sum != 0;
}

}  // namespace

std::shared_ptr<HostFile> HostFile::Make(HostMemoryCount& count) {
  if (count.files >= kHostFilesAliveMax) {
    errno = EMFILE;
    return nullptr;
  }
  const int fd = MakeSealedMemfd("nvshim-host", abi::kHostFileBytes);
  if (fd < 0) return nullptr;
  struct stat status;
  if (fstat(fd, &status) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return nullptr;
  }
  return std::make_shared<HostFile>(fd, status.st_ino, count);
}

HostFile::~HostFile() {
  close(fd_);
  --count_.files;
}

int HostFile::Duplicate() const { return fcntl(fd_, F_DUPFD_CLOEXEC, 0); }

HostRange::~HostRange() {
  if (bytes_.empty()) return;
  munmap(bytes_.data(), bytes_.size());
  count_.mappings -= pieces_.size();
}

std::span<uint8_t> HostRange::Bytes() {
  if (!bytes_.empty() || count_.mappings + pieces_.size() > kHostMappingsMax) return bytes_;
  size_t size_bytes = 0;
  for (const Piece& piece : pieces_) size_bytes += piece.size_bytes;
  // Neither is reserved: what counts is what the guest has touched, and that is in the files already.
  void* const at = mmap(nullptr, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return {};
  uint8_t* to = static_cast<uint8_t*>(at);
  for (const Piece& piece : pieces_) {
    if (mmap(to, piece.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
             piece.file->fd(), static_cast<off_t>(piece.offset)) == MAP_FAILED) {
      munmap(at, size_bytes);
      return {};
    }
    to += piece.size_bytes;
  }
  bytes_ = {static_cast<uint8_t*>(at), size_bytes};
  count_.mappings += pieces_.size();
  return bytes_;
}

HostFiles::Registration HostFiles::Register(std::span<const uint8_t> list, uint64_t size_bytes) {
  const std::vector<HostPiece> pieces = Parse(list);
  if (!IsRange(pieces, size_bytes)) return {EINVAL, nullptr, nullptr};
  for (const HostPiece& piece : pieces)
    if (piece.size_bytes == 0) files_.erase(piece.inode);
  std::shared_ptr<HostFile> made;
  std::vector<HostRange::Piece> resolved;
  for (const HostPiece& piece : pieces) {
    if (piece.size_bytes == 0) continue;
    if (piece.inode == 0) {
      if (made == nullptr && files_.size() >= abi::kHostFilesMax) return {ENOSPC, nullptr, nullptr};
      if (made == nullptr) made = HostFile::Make(count_);
      if (made == nullptr) return {errno, nullptr, nullptr};
      resolved.push_back({made, piece.offset, piece.size_bytes});
      continue;
    }
    const auto known = files_.find(piece.inode);
    if (known == files_.end()) return {ENOENT, nullptr, nullptr};
    resolved.push_back({known->second, piece.offset, piece.size_bytes});
  }
  if (made != nullptr) files_.emplace(made->inode(), made);
  return {0, std::make_shared<HostRange>(std::move(resolved), count_), std::move(made)};
}

uint32_t HostFiles::StatusOf(int error) {
  // nvstatuscodes.h
  constexpr uint32_t NV_ERR_INSUFFICIENT_RESOURCES = 0x1a, NV_ERR_INVALID_ARGUMENT = 0x1f,
                     NV_ERR_NO_MEMORY = 0x51, NV_ERR_OBJECT_NOT_FOUND = 0x57;
  switch (error) {
    case EINVAL:
      return NV_ERR_INVALID_ARGUMENT;
    case ENOENT:
      return NV_ERR_OBJECT_NOT_FOUND;
    case ENOSPC:
      return NV_ERR_INSUFFICIENT_RESOURCES;
    default:
      return NV_ERR_NO_MEMORY;
  }
}

void HostFiles::Adopt(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return;
  auto file = std::make_shared<HostFile>(fd, status.st_ino, count_);
  files_.try_emplace(file->inode(), std::move(file));
}

}  // namespace nvshim::broker
