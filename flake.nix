# nix build                            the program
# nix build .#dockerImage.SYSTEM       the image, for docker load; SYSTEM is
#                                      where it is built, e.g. aarch64-darwin
# nix develop                          a shell with what "make test" needs
{
  description = "Uploads next to your app: temporary first, durable when acknowledged";

  # nixos-26.05 of 2026-09-25: a commit, so that a tag is built by the same Go
  # and Node for ever.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/f5c082a40f7571c266e74e80ae2e68aadd8a9fc7";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      version = self.shortRev or self.dirtyShortRev or "dev";

      # What pages load, as static/build.mjs makes it; npm's packages come over
      # the network, so the result has a hash, which the tests know, too.
      pages = pkgs: pkgs.stdenvNoCC.mkDerivation {
        pname = "upload-service-pages";
        inherit version;
        src = self;
        nativeBuildInputs = with pkgs; [ nodejs cacert ];
        buildPhase = ''
          export HOME=$TMPDIR
          npm ci --ignore-scripts --no-audit --no-fund
          node static/build.mjs
        '';
        installPhase = "mkdir $out && cp static/dist/{*.css,*.js,*.txt,manifest.json} $out";
        dontFixup = true;
        outputHashMode = "recursive";
        outputHash = "sha256-HrmJyQlpT1bYBvnSq4uKVGzYHQr6Np7/xo8U6+AH4p0=";
      };
      embed = pkgs: ''
        install -m 644 ${pages pkgs}/* static/dist/
        for file in static/dist/*.{css,js,txt}; do
          ${pkgs.gzip}/bin/gzip -9kn $file && ${pkgs.brotli}/bin/brotli -k $file
        done
      '';

      program = {
        pname = "upload-service";
        inherit version;
        src = self;
        # The tests know this hash and tell the new one when go.sum changes.
        vendorHash = "sha256-0pNmXENlRD/X+mztJw4sTSRebCCi3RP1mDUG9LpCX7c=";
        subPackages = [ "cmd/upload-service" ];
        ldflags = [ "-s" "-w" "-X main.version=${version}" ];
        env.CGO_ENABLED = 0;
        doCheck = false; # "make test" needs more than a sandbox allows
        meta.mainProgram = "upload-service";
      };

      # Go builds for Linux anywhere, so a Mac needs no Linux to make the image.
      linux = pkgs: pkgs.buildGo126Module (program // {
        preBuild = embed pkgs + "export GOOS=linux";
        postInstall = ''
          if [ -d $out/bin/linux_* ]; then mv $out/bin/linux_*/* $out/bin/ && rmdir $out/bin/linux_*; fi
        '';
        dontFixup = true; # a Mac's strip does not know the format
      });

      image = pkgs: pkgs.dockerTools.buildLayeredImage {
        name = "upload-service";
        tag = version;
        contents = [ pkgs.dockerTools.caCertificates (linux pkgs) ];
        extraCommands = "mkdir -m 1777 uploads";
        config = {
          Entrypoint = [ "/bin/upload-service" ];
          Cmd = [ "serve" ];
          Env = [ "PATH=/bin" "UPLOAD_ADDR=:8000" "UPLOAD_DIR=/uploads" ];
          User = "65532:65532";
          Volumes."/uploads" = { };
          ExposedPorts."8000/tcp" = { };
          Healthcheck = {
            Test = [ "CMD" "upload-service" "healthcheck" ];
            Interval = 30 * 1000 * 1000 * 1000;
            Timeout = 5 * 1000 * 1000 * 1000;
            StartPeriod = 30 * 1000 * 1000 * 1000;
          };
        };
      };
    in
    {
      packages = each (pkgs: { default = pkgs.buildGo126Module (program // { preBuild = embed pkgs; }); });
      dockerImage = each image;
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [ go_1_26 gcc gnumake git curl util-linux nodejs ];
        };
      });
    };
}
