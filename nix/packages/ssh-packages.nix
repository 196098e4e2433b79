# What the ssh image's layout takes its programs from: a folder with the paths that Debian's packages have.
{ runCommand, guest }:
let
  # The layout puts sftp-server where this path leads in the image.
  dropbear = guest.compiled.pkgsStatic.dropbear.override { sftpPath = "/usr/lib/sftp-server"; };
  openssh = guest.compiled.pkgsStatic.openssh.override {
    linkOpenssl = false;
    withLdns = false;
  };
in
runCommand "smolvm-ssh-packages-${guest.arch}" { } ''
  mkdir -p $out/usr/sbin $out/usr/bin $out/usr/lib/openssh
  cp ${dropbear}/bin/dropbear $out/usr/sbin/dropbear
  cp ${dropbear}/bin/dropbearkey $out/usr/bin/dropbearkey
  cp ${openssh}/libexec/sftp-server $out/usr/lib/openssh/sftp-server
''
