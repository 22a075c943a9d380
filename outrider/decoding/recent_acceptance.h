#pragma once

namespace outrider {

// The share of draft tokens that were accepted, older ones counting less.
class RecentAcceptance {
 public:
  // `decay`: what is left of the earlier tokens' weight at each add(). `assumed`: the number of draft tokens that the
  // assumption of the beginning, that most are accepted, counts as.
  constexpr RecentAcceptance(double decay, double assumed) : decay_(decay), assumed_(assumed) {}

  void add(double verified, double accepted) {
    verified_ = decay_ * verified_ + verified;
    accepted_ = decay_ * accepted_ + accepted;
  }
  double rate() const {
    constexpr double kAssumedRate = 0.6;
    return (accepted_ + kAssumedRate * assumed_) / (verified_ + assumed_);
  }

 private:
  double decay_;
  double assumed_;
  double verified_ = 0;
  double accepted_ = 0;
};

}  // namespace outrider
