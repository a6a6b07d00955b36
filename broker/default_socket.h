// Where guests connect unless somebody says otherwise.
#ifndef BROKER_DEFAULT_SOCKET_H_
#define BROKER_DEFAULT_SOCKET_H_

namespace nvshim::broker {

inline constexpr char kDefaultSocket[] = "/run/gpu-broker/gpu-broker.sock";  // the shim looks there as well

}  // namespace nvshim::broker

#endif  // BROKER_DEFAULT_SOCKET_H_
