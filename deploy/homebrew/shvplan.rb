# Template of a Homebrew formula: the release workflow writes the version and the archives' sums in for @VERSION@ and
# @SHA256_…@ and adds the result to the release. It belongs into the Formula folder of a tap.
class Shvplan < Formula
  desc "Will this model fit, and how far is this machine from memory trouble"
  homepage "https://github.com/shvplan/shvplan"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    depends_on arch: :arm64
    url "https://github.com/shvplan/shvplan/releases/download/v#{version}/shvplan-aarch64-apple-darwin.tar.gz"
    sha256 "@SHA256_AARCH64_APPLE_DARWIN@"
  end

  on_linux do
    on_intel do
      url "https://github.com/shvplan/shvplan/releases/download/v#{version}/shvplan-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_X86_64_UNKNOWN_LINUX_GNU@"
    end
    on_arm do
      url "https://github.com/shvplan/shvplan/releases/download/v#{version}/shvplan-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_AARCH64_UNKNOWN_LINUX_GNU@"
    end
  end

  def install
    # MLX looks for its Metal library beside the program.
    libexec.install Dir["bin/*"]
    bin.install_symlink libexec/"shvplan", libexec/"shvd"
    man1.install Dir["man/*.1"]
    %w[shvplan shvd].each { |program| generate_completions_from_executable(bin/program, "completions") }
    # An upgrade keeps what was changed.
    (etc/"shvplan").install "config.yaml" unless (etc/"shvplan/config.yaml").exist?
    pkgshare.install "dashboards"
    doc.install Dir["docs/*"]
  end

  service do
    run [opt_bin/"shvd", "serve", "--config", etc/"shvplan/config.yaml"]
    keep_alive successful_exit: false
    error_log_path var/"log/shvd.log"
  end

  test do
    assert_match "FITS", shell_output("#{bin}/shvplan --model 7b --quant int4 --machine m4-pro-48gb")
    system bin/"shvd", "check-config", "--config", etc/"shvplan/config.yaml"
  end
end
