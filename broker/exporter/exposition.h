// Families of samples as text: for Prometheus (its text format, version 0.0.4), and for docs/metrics.md.
// Pure.
//
// prometheus-cpp has a writer of this format; Debian has no archive of it, and what is built here needs
// nothing but libc where it runs. A test holds this one against Prometheus itself.
#ifndef BROKER_EXPORTER_EXPOSITION_H_
#define BROKER_EXPORTER_EXPOSITION_H_

#include <string>
#include <vector>

#include "broker/exporter/metrics.h"

namespace nvshim::broker {

inline constexpr char kExpositionType[] = "text/plain; version=0.0.4; charset=utf-8";

// Families without samples are left out.
std::string ExpositionText(const std::vector<Family>& families);

// A table of what families there are.
std::string FamiliesMarkdown(const std::vector<Family>& families);

}  // namespace nvshim::broker

#endif  // BROKER_EXPORTER_EXPOSITION_H_
